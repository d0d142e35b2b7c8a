# The frame of photographs_of_hands.py with the paper's rule for stage 2: f is drawn
# anew and learns at ten times the rate of psi.
_base_ = ['photographs_of_hands.py']

pretrain = dict(parts=('backbone', 'neck'))
optimizers = dict(head=dict(lr=0.1))
optim_wrapper = dict(head=dict(optimizer=dict(lr=0.1)))
