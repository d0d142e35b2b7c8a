# What a pair is changed to at 128x128 pixels, for small networks and short
# training: batches of 16, because at equal cost more and smaller steps learn more.
transforms_at_128px = dict(
    TopdownAffine=dict(input_size=(128, 128)),
    GenerateTarget=dict(
        encoder=dict(
            type='GaussianHeatmap',
            input_size=(128, 128),
            heatmap_size=(32, 32),
            sigma=1.5,
        )
    ),
)
# Two cores: one worker for each domain, beside the training itself.
loader_at_128px = dict(
    InfiniteSampler=dict(batch_size=16, num_workers=1),
    DefaultSampler=dict(num_workers=1),
)
