# RegDA's ablation: f' minimises the ground false loss, psi maximises it.
_base_ = ['./regda.py']

adaptation = dict(type='GroundFalseMinimax')
