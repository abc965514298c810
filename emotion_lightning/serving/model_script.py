"""The script that MLflow keeps with each model and runs to load it, so that no class of ours is pickled.

It has nothing else: a later version of emotion_lightning then answers with its own code, and reads the package as data.
"""

import mlflow

from emotion_lightning.serving.pyfunc import PackagedModel

mlflow.models.set_model(PackagedModel())
