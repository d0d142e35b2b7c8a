# RegDA with a mean teacher: departs from the paper. docs/benchmark.md says what
# that gains, and that it is the teacher's doing.
_base_ = ['./regda.py']

adaptation = dict(type='MeanTeacherRegDA')
