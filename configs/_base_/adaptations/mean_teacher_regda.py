# RegDA with an averaged teacher: departs from the paper, and scores higher.
_base_ = ['./regda.py']

adaptation = dict(type='MeanTeacherRegDA')
