"""What a configuration's rules need of the model and of the run, checked at their lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

from schedules import Clock, Trigger
from sleepengine import names
from sleepengine.engine.sleep_engine import SleepEngine
from sleepengine.errors import ConfigError, ScheduleError, SetupError, did_you_mean
from sleepengine.files.yaml_document import KeyPath
from sleepengine.firing.agenda import Agenda
from sleepengine.nodes.units import Nodes
from sleepengine.pipeline.configuration.config import Config
from sleepengine.pipeline.configuration.located import Mistakes
from sleepengine.rules.rule import Rule

LOOKS = 10_000  # moments at which a rule that never fires is asked when it would


def rule_path(config: Config, number: int) -> KeyPath:
    """Where the rule with this number stands."""
    return ("lottery", "each_level", number) if config.lottery is not None else ("rules", number)


def check_params(config: Config, model: nn.Module, rules: Sequence[Rule]) -> None:
    """Every `params:` of the file names something in the model; `rules` are all of the file's.

    Raises:
        ConfigError: all that do not, one per line, with the closest name.
    """
    _, mistakes = config.reader()
    for path, pattern in _patterns(config, rules):
        try:
            names.matching(model, [pattern])
        except SetupError as error:
            mistakes.add(path, f"params: {error}")
    mistakes.report()


def _patterns(config: Config, rules: Sequence[Rule]) -> Iterator[tuple[KeyPath, str]]:
    for i, pattern in enumerate(config.engine.params or ()):
        yield ("engine", "params", i), pattern
    for number, rule in enumerate(rules):
        # Of nodes the patterns are names of groups, which the engine looks for.
        by_group = rule.who is not None and isinstance(rule.who.units, Nodes)
        asked = () if rule.who is None or by_group else rule.who.patterns or ()
        for i, pattern in enumerate(asked):
            yield (*rule_path(config, number), "who", "params", i), pattern


def check_schedules(config: Config, engine: SleepEngine, told: Sequence[str]) -> None:
    """Every rule of the engine fires, and reaches its target, in a run as long as the engine's.

    Args:
        config: whose rules the engine has.
        engine: with the lengths of the run in its clock.
        told: the metrics that the run tells the rules.

    Raises:
        ConfigError: the rules that do not, one per line.
    """
    _, mistakes = config.reader()
    for number, rule in enumerate(engine.rules):
        path = (*rule_path(config, number), "when")
        alone = Agenda((rule,), engine.time)
        _check_sources(rule, path, told, mistakes)
        try:
            alone.check()
            engine.conductor.sentinel.foresee(alone)
        except SetupError as error:
            mistakes.add(path, str(error))
        except ScheduleError as error:
            mistakes.add(path, f"{error}; {_remedy(rule.when, engine.time.clock())}")
    mistakes.report()


def _check_sources(rule: Rule, path: KeyPath, told: Sequence[str], mistakes: Mistakes) -> None:
    for metric in sorted(rule.when.metrics - set(told)):
        words = f"rule {rule.name!r} waits for the metric {metric!r}, which is never told"
        mistakes.add(path, f"{words}. {did_you_mean(metric, told)}")
    for event in sorted(rule.when.events):
        words = f"rule {rule.name!r} waits for the event {event!r}, and a pipeline has no events"
        mistakes.add(path, f"{words}; write a time: at, once, every, or a plateau")


def _remedy(when: Trigger, clock: Clock) -> str:
    """What would help: a longer run, or an earlier rule."""
    first = first_time(when, clock)
    if first is None:
        return "it would not fire in a longer run either"
    if clock.total_steps is not None and first > clock.total_steps:
        return (
            f"it would fire first at step {first}: give it an earlier time, or train.length at "
            f"least {first} steps"
        )
    return "let it end earlier, or give train.length more steps"


def first_time(when: Trigger, clock: Clock) -> int | None:
    """The step at which a trigger of time is true first, however long the run is; None = never.

    >>> from schedules import every
    >>> first_time(every("100it", after="250it"), Clock(total_steps=10))
    250
    """
    step: int | None = 0
    for _ in range(LOOKS):
        if step is None:
            return None
        asked = Clock(step, clock.steps_per_epoch, clock.total_steps)
        if when(asked):
            return step
        step = when.next_after(asked)
    return None


def at_rules(config: Config, rules: Sequence[Rule], error: SetupError) -> SetupError | ConfigError:
    """The error with the place of a rule before every line that begins with the rule's name."""
    places = {f"rule {rule.name!r}:": rule_path(config, i) for i, rule in enumerate(rules)}
    lines, found = [], False
    for line in str(error).splitlines():
        path = next((path for start, path in places.items() if line.startswith(start)), None)
        found = found or path is not None
        lines.append(line if path is None else str(config.fault(path, line)))
    return ConfigError("\n".join(lines)) if found else error
