# UniFrame: a teacher labels one view of a target image for a student of another.
# Style is off. style=dict(beta=0.01) exchanges the spectra of source and target;
# feature_style=dict(layer='layer1') exchanges the statistics of a ResNet's features.
_base_ = ['./source_only.py']

adaptation = dict(type='UniFrame', trade_off=1, momentum=0.001, mask_ratio=0.5)
