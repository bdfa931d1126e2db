"""Knowledge distillation: a student learns from the predictions of a trained network, too."""

from torch import Tensor, nn
from torch.nn import functional

from hankelboard.settings.config import DistillationConfig
from hankelboard.storage.errors import ConfigError
from hankelboard.trainer.data.scoring import cross_entropy
from hankelboard.trainer.data.task import Split
from hankelboard.trainer.training.evaluation import answers, evaluation_batch


class Distillation:
    """The soft targets of a teacher: (1 − α) · cross-entropy + α T² KL(teacher ‖ student), both at T.

    Hinton, Vinyals and Dean 2015 (arXiv 1503.02531). The data are not augmented, so that the teacher predicts
    once for every training sequence and not at every step.
    """

    def __init__(self, config: DistillationConfig, teacher: nn.Module, train: Split, classes: int):
        self._share, self._temperature = config.share, config.temperature
        if train.labels.ndim > 1:
            raise ConfigError("distillation.teacher: for tasks with one label per sequence only")
        logits = answers(teacher, train.inputs, evaluation_batch(train)).to(train.inputs.device)
        if logits.shape[1] != classes:
            raise ConfigError(
                f"distillation.teacher = {config.teacher}: predicts {logits.shape[1]} classes, not {classes}"
            )
        self._soft = functional.softmax(logits / self._temperature, dim=1)  # (samples, classes)

    def loss(self, logits: Tensor, labels: Tensor, chosen: Tensor) -> Tensor:
        """Return the loss of a batch: logits (batch, classes), labels, and indices in the training data."""
        hard = cross_entropy(logits, labels)
        student = functional.log_softmax(logits / self._temperature, dim=1)
        soft = functional.kl_div(student, self._soft[chosen], reduction="batchmean")
        return (1.0 - self._share) * hard + self._share * self._temperature**2 * soft
