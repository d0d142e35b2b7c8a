"""What a user does with a trained model."""

from mmregda.apis.predict import images_to_predict, predict_images

__all__ = ['images_to_predict', 'predict_images']
