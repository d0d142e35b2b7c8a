# Stage 1 with the settings of the paper: the ResNet-101 simple baseline. A config
# adds the pair and says on which of its loaders it trains.
_base_ = [
    '../models/simple_baseline_res101_hand21.py',
    '../schedules/pretrain_70e.py',
    '../default_runtime.py',
]
