"""What is measured of a model while it trains: validation, spectra, systems, and the forms it computes in."""

from typing import Any, NamedTuple, cast

from hankelboard.storage.layout import SystemsName
from hankelboard.storage.schema import EventFields, Scores
from hankelboard.storage.scores import BITS_METRIC, PRIMARY_METRIC
from hankelboard.storage.systems import publish_systems
from hankelboard.storage.vocabulary import EventKind, Phase, SnapshotCause
from hankelboard.trainer.compression.calibration import calibrate, monitored
from hankelboard.trainer.compression.run import Run
from hankelboard.trainer.compression.systems import encode
from hankelboard.trainer.compression.workload import Workload
from hankelboard.trainer.layers.diagonal_layer import SharedStates
from hankelboard.trainer.layers.recurrences import installed_kernels, scan_choice
from hankelboard.trainer.layers.recurrences.c_kernels.library import library
from hankelboard.trainer.layers.recurrences.installed_kernels import OWN, C
from hankelboard.trainer.reduction.reducible import FloatArray, ReducibleLayer


class Weights(NamedTuple):
    """Which weights something was measured of: the same always names the same ones within a process."""

    branch: int
    step: int
    reductions: tuple[int, ...]
    state_dims: tuple[int, ...]
    """Others as soon as a cut is made; it counts among the reductions a little later."""


def _spectrum_of(layer: ReducibleLayer) -> FloatArray | ValueError:
    try:
        return layer.spectrum(layer.extract())
    except ValueError as error:
        return error


class Monitor:
    """Measures the model of a run and records what it finds."""

    def __init__(self, run: Run, workload: Workload, *, keep_systems: bool):
        """Attach to the run: forms are bound after a restore and settled when layers change their shape.

        Parameters
        ----------
        keep_systems : bool
            Publish (λ, B, C) of all layers for later analyses.
        """
        self._run, self._workload, self._keep_systems = run, workload, keep_systems
        self._snapshots: list[tuple[Weights, list[Any]]] = []
        """The systems of all layers at the last two scheduled snapshots."""
        self._calibrated: Weights | None = None
        """What the layers' statistics are of."""
        self._validated: tuple[Weights, Scores] | None = None
        self._spectra: tuple[Weights, list[FloatArray | ValueError]] | None = None
        """What was measured last, and of which weights: at the same boundary several ask for it."""
        run.when_restored.append(self.bind_forms)
        run.when_reshaped.append(self.settle_forms)

    # Validation.

    def measure(self) -> Scores:
        """Return validation loss and accuracy now, for an event; the next checkpoint carries them, too."""
        weights = self._weights()
        if self._validated is None or self._validated[0] != weights:
            self._run.recorder.show_phase(Phase.EVALUATING)
            self._validated = weights, self._workload.evaluate(self._run.model)
        measured = self._validated[1]
        self._run.state.last = {
            f"val/{name}": value for name, value in cast(dict[str, float], measured).items()
        }
        return measured

    def evaluate(self) -> dict[str, float]:
        """Return what `measure` measures as metrics, and keep the best of this path."""
        self.measure()
        state = self._run.state
        value = state.last.get(PRIMARY_METRIC)
        if value is not None and (state.best is None or value > state.best["value"]):
            state.best = {"metric": PRIMARY_METRIC, "value": value, "step": state.step}
            if BITS_METRIC in state.last:
                state.best["bits_per_character"] = state.last[BITS_METRIC]
        return state.last

    # Spectra and systems.

    def calibrate(self) -> None:
        """Measure the states of layers that depend on data, once for the same weights."""
        weights = self._weights()
        if weights != self._calibrated:
            inputs = self._workload.calibration_inputs(self._run.state.position)
            calibrate(self._run.model, inputs, self._workload.forward)
            self._calibrated = weights

    def record_spectra(self, snapshot: SnapshotCause) -> None:
        """Record the spectrum of each layer. What comes next compares with a scheduled snapshot."""
        run = self._run
        self.calibrate()
        if snapshot == SnapshotCause.SCHEDULED:
            systems = [layer.extract() for _, layer in run.layers]
            self._snapshots = [*self._snapshots[-1:], (self._weights(), systems)]
        for index, ((name, layer), spectrum) in enumerate(zip(run.layers, self._spectra_now(), strict=True)):
            if isinstance(spectrum, ValueError):
                run.recorder.say(f"no spectrum of {name}: {spectrum}")
                continue
            run.recorder.spectrum(
                index, [float(value) for value in spectrum], importance=monitored(layer), snapshot=snapshot
            )

    def _spectra_now(self) -> list[FloatArray | ValueError]:
        """Return the spectrum of each layer, or why it has none, computed once for the same weights."""
        weights = self._weights()
        if self._spectra is None or self._spectra[0] != weights:
            self._spectra = weights, [_spectrum_of(layer) for _, layer in self._run.layers]
        return self._spectra[1]

    def earlier_systems(self) -> list[Any] | None:
        """Return the systems of all layers at the last scheduled snapshot before this step, in the same
        coordinates: None when there is none since the last cut or rollback."""
        now = self._weights()
        earlier: list[list[Any]] = [
            systems
            for weights, systems in self._snapshots
            if weights.step < now.step and weights._replace(step=now.step) == now
        ]
        return earlier[-1] if earlier else None

    def record_systems(self) -> None:
        """Keep (λ, B, C) of all layers for a later analysis, where every layer has such a system."""
        run = self._run
        layers = [layer for _, layer in run.layers]
        if not self._keep_systems or not all(layer.offers("realisation") for layer in layers):
            return
        weights = self._weights()
        name = SystemsName(
            step=weights.step,
            reductions=len(weights.reductions),
            branch=weights.branch,
            attempt=run.recorder.attempt,
        )
        try:
            content = encode([layer.realisation(layer.extract()) for layer in layers])
            run.recorder.check()
            publish_systems(run.paths, name, content)
        except (OSError, ValueError) as error:
            run.recorder.say(f"systems not kept: {error}")

    def _weights(self) -> Weights:
        state = self._run.state
        return Weights(state.branch, state.step, tuple(state.reductions), tuple(self._run.state_dims))

    # Forms.

    def settle_forms(self) -> None:
        """Choose the form of each layer's recurrence for the training batches, once for its state dimension.

        Recorded before its first use and kept in checkpoints: a resumed run goes on with it, whatever a later
        version would choose, and rounds as it would have done.
        """
        run, state = self._run, self._run.state
        batch, length = self._workload.batch_shape
        forms = [layer.form_for(batch, length) for _, layer in run.layers]
        scan = self._scan_for(forms)
        if (forms, scan, run.state_dims) != (state.forms, state.scan, state.forms_of):
            state.forms, state.scan, state.forms_of = forms, scan, run.state_dims
            run.event(EventKind.KERNEL_CHOSEN, **self._chosen(forms, scan))
        self.bind_forms()

    def _scan_for(self, forms: list[str | None]) -> str:
        """Return what computes scans of complex states, "" where no layer has any."""
        if not any(isinstance(layer, SharedStates) for _, layer in self._run.layers):
            return ""
        kept = (
            self._run.state.scan or OWN if self._settled() else None
        )  # no name: of before there were kernels
        return installed_kernels.choose_scan(kept, self._run.device)

    def _chosen(self, forms: list[str | None], scan: str) -> EventFields:
        """Return what the event says: of kernels in C what compiled them, or why there are none."""
        fields: EventFields = {"forms": forms}
        if scan:
            fields["scan"] = scan
        if C in (*forms, scan):
            fields["compiler"] = library().compiler
        elif OWN in (*forms, scan) and (reason := installed_kernels.not_in_c(self._run.device)):
            fields["reason"] = reason
            self._run.recorder.say(f"recurrences are computed by PyTorch, not in C: {reason}")
        return fields

    def bind_forms(self) -> None:
        """Bind layers to the forms that were settled for their dimensions; free those that have none yet."""
        state, settled = self._run.state, self._settled()
        layers = [layer for _, layer in self._run.layers]
        for layer, form in zip(layers, state.forms if settled else [None] * len(layers), strict=True):
            if layer.offers("form_for"):
                layer.form_kept = form or (OWN if settled else None)  # no name: of before there were kernels
        scan_choice.bind(settled and state.scan == C)

    def _settled(self) -> bool:
        return self._run.state.forms_of == self._run.state_dims
