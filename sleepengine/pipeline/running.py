"""Run a configuration: everything is checked first, then trained, into a run folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sleepengine.errors import SetupError
from sleepengine.pipeline.build import level_rules
from sleepengine.pipeline.checks import check_schedules
from sleepengine.pipeline.configuration.config import Config, load
from sleepengine.pipeline.configuration.tables import Plugins
from sleepengine.pipeline.experiments import lottery
from sleepengine.pipeline.experiments.jobs import RANDOM_REINIT
from sleepengine.pipeline.experiments.runner import Options, empty_checkpoint
from sleepengine.pipeline.experiments.table import check_parts, networks_of, runner_of
from sleepengine.pipeline.header import header
from sleepengine.pipeline.outcome import RunResult
from sleepengine.pipeline.parallel import Parallel
from sleepengine.pipeline.parts import Given, ModelGiven, OptimizerMaker, Parts, brought
from sleepengine.pipeline.problems.bundle import Data
from sleepengine.pipeline.problems.loaders import Loaders
from sleepengine.pipeline.run_folder import RunFolder
from sleepengine.pipeline.training.evaluate import LossFn
from sleepengine.pipeline.training.network import Network, make
from sleepengine.pipeline.training.session import now
from sleepengine.pipeline.training.train import told
from sleepengine.pipeline.worker_count import cores, worth


def run(
    config: Config | str | Path,
    *,
    out: str | Path | None = None,
    data_folder: str | Path | None = None,
    model: ModelGiven | None = None,
    data: Data | None = None,
    loader: Iterable[Any] | Loaders | None = None,
    loss_fn: LossFn | None = None,
    optimizer: OptimizerMaker | None = None,
    plugins: Plugins | None = None,
    overrides: Sequence[str] = (),
    progress: bool = True,
    options: Options | None = None,
    plugin_names: Sequence[str] = (),
) -> RunResult:
    """Train what a configuration says and write a run folder.

    Every network is a pure function of the configuration, the data and its seed: the same run gives
    the same lines (apart from seconds), also when it was interrupted and resumed in between.

    Args:
        config: a configuration, or the path or text of one.
        out: the run folder, new or empty; None = `runs/NAME-DATE-TIME`.
        data_folder: where data sets lie that are read from files.
        model: your own instead of the configuration's: a module, or a function of (data, seed).
        data: your own data set in memory.
        loader: your own training loader of batches (input, target), or `Loaders` with those for
            validation and test. What an epoch of it is, and what resuming can promise, stands in
            `problems/loaders.py`; `train.batch_size` is the loader's.
        loss_fn: mean loss of (output, target); None = cross entropy.
        optimizer: a function of the model that makes one.
        plugins: your own scorers, models and data sets, by the names the configuration uses.
        overrides: settings that win over the configuration, such as "train.length=1ep".
        progress: whether a bar is drawn (only on a terminal).
        options: how the run is carried out.
        plugin_names: the modules that `plugins` come from, as worker processes load them.

    Raises:
        ConfigError: the configuration is wrong, a rule would never fire or miss its target.
        SetupError: something else cannot work; nothing was trained or written.
        KeyboardInterrupt: after Ctrl-C, once the running step is finished and saved.
    """
    if not isinstance(config, Config):
        config = load(config, plugins=plugins, overrides=overrides, own_model=model is not None)
    folder = None if data_folder is None else Path(data_folder)
    given = Given(model, brought(data, loader), loss_fn, optimizer)
    options = options or Options(progress=progress)
    check_workers(options, given, plugins, plugin_names)
    parts = Parts.of(config, folder, given)
    network = checked(parts)
    target = default_folder(config.name) if out is None else Path(out)
    place = None if folder is None else str(folder.absolute())
    workers = options.workers
    if workers is None:
        steps = networks_of(parts) * parts.total_steps
        workers = worth(len(config.seeds), steps, cores())
    state = empty_checkpoint(place)
    if workers > 1 and len(config.seeds) > 1:
        state |= {"workers": workers, "networks": networks_of(parts)}
    run_folder = RunFolder.create(target, config.text, header(parts, network, now()), state)
    with run_folder.held():
        if "workers" in state:
            return Parallel(run_folder, options, plugin_names, state).run()
        return runner_of(parts, run_folder, options, place).run()


def default_folder(name: str) -> Path:
    """runs/NAME-DATE-TIME."""
    return Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"


def check_workers(
    options: Options, given: Given, plugins: Plugins | None, plugin_names: Sequence[str]
) -> None:
    """Worker processes know what a configuration and named modules say, nothing else.

    Raises:
        SetupError: there is more, or no worker at all.
    """
    if options.workers is not None and options.workers < 1:
        raise SetupError(f"workers={options.workers}: at least 1 is needed")
    own = plugins not in (None, Plugins()) and not plugin_names
    if options.workers != 1 and (given != Given() or own):
        raise SetupError(
            f"workers={options.workers} needs everything by name: model=, data=, loader=, loss_fn= "
            "and optimizer= cannot be handed to another process; use plug-in modules, or workers=1"
        )


def checked(parts: Parts) -> Network:
    """A network of the run, after everything was tried that can be tried without training.

    Raises:
        ConfigError, SetupError: naming what cannot work.
    """
    config = parts.config
    check_parts(parts)
    network = make(parts, config.seeds[0])
    engine = network.engine
    engine.time.steps_per_epoch, engine.time.total_steps = parts.steps_per_epoch, parts.total_steps
    check_schedules(config, engine, told(parts.data))
    if config.lottery is not None:
        try:
            lottery.start_step(level_rules(config), parts)
        except SetupError as error:
            raise config.fault(("lottery", "each_level"), str(error)) from error
        if RANDOM_REINIT in config.lottery.arms:
            lottery.check_draws(parts)
    return network
