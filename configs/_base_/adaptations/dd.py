# Disparity discrepancy: RegDA's frame; f' maximises what psi minimises.
_base_ = ['./regda.py']

adaptation = dict(type='DisparityDiscrepancy')
