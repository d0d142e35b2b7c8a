# Scores of the target that need no labels of it; more is better in each.
validators = [
    dict(type='NegativeEntropy'),
    dict(type='MutualInformation'),
    dict(type='SoftNeighborhoodDensity'),
    dict(type='MixVal'),
    dict(type='Flatness'),
    dict(type='Equivariance'),
    dict(type='ImportanceWeightedValidation'),  # needs val_dataloader.source
]
