"""The errors a user can meet; each message names the file, case or key and what to do."""


class ConfigError(ValueError):
    """A setting is unknown, of the wrong kind, or contradicts another."""


class DataError(ValueError):
    """A file of the data set cannot be used as it is."""


class WaitingError(DataError):
    """A run cannot go on before people return masks."""


class NotTrainedError(RuntimeError):
    """Something was asked of a model that does not exist yet (round 0)."""


class WeightsError(RuntimeError):
    """Model weights are missing, gated, truncated or do not fit."""


class TrainingError(RuntimeError):
    """Training cannot go on: the loss is not finite, or there is nothing to train on."""
