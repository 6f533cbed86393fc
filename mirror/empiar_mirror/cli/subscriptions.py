from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

from empiar_mirror.cli.invocation import Invocation, standard_options
from empiar_schema.faults import ConfigFault, ExitCode

if TYPE_CHECKING:
    from empiar_schema.catalogue import Catalogue
    from empiar_schema.settings import Settings
    from empiar_schema.subscriptions import Definition

ACTIONS: Final = ("show", "set", "remove", "pause", "resume")
#: Takes a limit away.
_NONE: Final = "none"
#: So many matches are named; the view `subscription_matches` has all.
_NAMED: Final = 20


@click.command("subscriptions")
@click.argument("action", type=click.Choice(ACTIONS), required=False)
@click.argument("name", required=False)
@click.option("--priority", type=click.IntRange(-1000, 1000), help="set: higher comes first.")
@click.option("--quota", metavar="BYTES", help="set: what its files may hold here, or `none`.")
@click.option("--share", type=click.FloatRange(0.001, 1000), help="set: its part among equal priorities.")
@click.option("--deadline", metavar="TIME", help="set: so long after the match, such as 30d, or `none`.")
@click.option("--budget", metavar="BYTES", help="set: what it may make wanted in all, or `none`.")
@click.option(
    "--channel", type=click.Choice(["https", "ftp", "globus", _NONE]), help="set: channel of its files."
)
@standard_options
def command(
    invocation: Invocation,
    action: str | None,
    name: str | None,
    priority: int | None,
    quota: str | None,
    share: float | None,
    deadline: str | None,
    budget: str | None,
    channel: str | None,
) -> ExitCode:
    """List subscriptions, or show, set, remove, pause or resume one.

    `set` changes what its options name, `pause` lets files wait that nobody else wants: both reach a running sync or daemon
    within seconds. `resume` also releases one that is held, and evaluates it at once: its next result is believed. Whatever is done to a
    subscription, what it made wanted stays wanted, and what is here stays here. Works beside a running sync.
    """
    settings = invocation.settings()
    if action is None:
        rows = _rows(settings)
        unknown = sorted(set(settings.subscription) - {str(row["name"]) for row in rows})
        invocation.result(list(rows), [*map(_line, rows), *_not_in_force(unknown, rows)])
        return ExitCode.OK
    if name is None:
        raise ConfigFault(
            f"{action} which subscription?", hint=f"`empiar-mirror subscriptions {action} NAME`"
        )
    if action == "show":
        [row] = _rows(settings, name)
        invocation.result(row, _shown(settings, row))
        return ExitCode.OK
    options: dict[str, str | int | float] = {
        key: value
        for key, value in (
            ("priority", priority),
            ("quota", quota),
            ("share", share),
            ("deadline", deadline),
            ("budget", budget),
            ("channel", channel),
        )
        if value is not None
    }
    if bool(options) is not (action == "set"):
        what = "the options are of `set`" if options else "set what?"
        raise ConfigFault(what, hint=f"`empiar-mirror subscriptions set {name} --priority 5`")
    text = _changed(invocation, settings, action, name, options)
    invocation.result({"name": name, "action": action, "result": text}, [text])
    return ExitCode.OK


def _changed(
    invocation: Invocation, settings: Settings, action: str, name: str, options: dict[str, str | int | float]
) -> str:
    """What was done, as a sentence."""
    from empiar_mirror.reading import CATALOGUE_NAME, reading
    from empiar_mirror.subscriptions.declaring import put_in_force
    from empiar_schema import subscription_store as store
    from empiar_schema.catalogue import Catalogue

    with reading(settings.root) as connection:
        before = store.subscription_named(connection, name)
    if name in settings.subscription and (action != "resume" or before.held_at is None):
        raise ConfigFault(
            f"the subscription {name} is not changed by command: it stands in {invocation.place} as [subscription.{name}]",
            hint=f"take it out of the file to {action} it"
            if action != "resume"
            else "it is in force as it stands there",
        )
    if action == "set":
        wanted = _with(before.definition, options)
        with Catalogue.open(settings.root / CATALOGUE_NAME) as catalogue:
            catalogue.write_now(functools.partial(store.set_subscription, name=name, wanted=wanted))
            if "budget" in options and not before.paused and before.held_at is None:
                return _evaluated(catalogue, settings, name)
        changed = ", ".join(f"{key} {value}" for key, value in options.items())
        return f"the subscription {name} has {changed}"
    change = {
        "remove": store.remove_subscription,
        "pause": store.pause_subscription,
        "resume": store.resume_subscription,
    }[action]
    with Catalogue.open(settings.root / CATALOGUE_NAME) as catalogue:
        if name in settings.subscription:
            put_in_force(catalogue, settings, now=int(time.time()))
        catalogue.write_now(functools.partial(change, name=name))
        if action == "remove":
            return f"the subscription {name} is removed; what it made wanted stays wanted: `empiar-mirror status` shows it"
        if action == "pause":
            return f"the subscription {name} is paused: nothing new becomes wanted, and files that nobody else wants wait"
        return _evaluated(catalogue, settings, name)


def _with(before: Definition, options: dict[str, str | int | float]) -> Definition:
    """The definition with these options instead of its own; `none` takes a limit away."""
    from dataclasses import replace

    from empiar_mirror.cli.subscribe import bytes_of, seconds_of
    from empiar_schema.states import Channel

    after = before
    for key, value in options.items():
        text = None if value == _NONE else str(value)
        match key:
            case "priority":
                after = replace(after, priority=int(value))
            case "share":
                after = replace(after, share=float(value))
            case "quota":
                after = replace(after, quota_bytes=bytes_of(text, "--quota"))
            case "budget":
                after = replace(after, budget_bytes=bytes_of(text, "--budget"))
            case "deadline":
                after = replace(after, deadline_s=seconds_of(text, "--deadline"))
            case "channel":
                after = replace(after, channel=None if text is None else Channel(text))
    return after


def _evaluated(catalogue: Catalogue, settings: Settings, name: str) -> str:
    from empiar_mirror.subscriptions.evaluation import evaluate_subscriptions

    [found] = evaluate_subscriptions(catalogue, settings, now=int(time.time()), names=[name])
    if found.held is not None:
        raise ConfigFault(
            f"the subscription {name} is held again: {found.held}",
            hint=f"remove it and subscribe with another query, or change it where it is declared; `empiar-mirror subscriptions show {name}`",
        )
    more = f", {found.files:,} files newly wanted" if found.files else ""
    return f"the subscription {name} is in force: {found.matches:,} matches{more}"


def _rows(settings: Settings, name: str | None = None) -> list[dict[str, object]]:
    from empiar_mirror.reading import reading
    from empiar_schema.subscription_store import subscription_named

    with reading(settings.root) as connection:
        if name is not None:
            subscription_named(connection, name)
        query = "SELECT * FROM subscriptions WHERE :name IS NULL OR name = :name ORDER BY priority DESC, name"
        return [dict(row) for row in connection.execute(query, {"name": name})]


def _line(row: dict[str, object]) -> str:
    from empiar_schema.sizes import format_bytes

    if row["held_at"]:
        state = f"HELD since {row['held_at']}: {row['held_reason']}"
    elif row["paused"]:
        state = "paused"
    elif row["evaluated_at"] is None:
        state = "not evaluated yet"
    else:
        state = f"{row['entry_count']:,} entries, {row['file_count']:,} files match"
    taken = f"; {format_bytes(_number(row['taken_bytes']))} made wanted"
    if row["budget_bytes"] is not None:
        taken += f" of {format_bytes(_number(row['budget_bytes']))}"
    left = f", {row['left_out_count']:,} matches do not fit" if row["left_out_count"] else ""
    where = ", in the configuration" if row["declared"] else ""
    return f"{row['name']}  (priority {row['priority']}{where})  {state}{taken}{left}"


def _order_lines(row: dict[str, object]) -> Iterator[str]:
    """Quota, share and deadline, and how it stands with them."""
    from empiar_schema.sizes import format_bytes
    from empiar_schema.times import iso

    waiting = f"{row['waiting_files']:,} files, {format_bytes(_number(row['waiting_bytes']))}, wait"
    if row["quota_bytes"] is not None:
        held, quota = _number(row["held_bytes"]), _number(row["quota_bytes"])
        full = "; at the quota: its files wait" if row["waiting_files"] and held >= quota else ""
        yield f"  quota: {format_bytes(held)} of {format_bytes(quota)} here or coming{full}"
    if row["share"] != 1:
        yield f"  share: {row['share']:g} among subscriptions of priority {row['priority']}"
    if row["deadline_s"] is not None:
        late = "; LATE" if row["due_at"] and str(row["due_at"]) < str(iso(int(time.time()))) else ""
        due = f", the next on {row['due_at']}{late}" if row["due_at"] else ""
        yield f"  deadline: {_number(row['deadline_s']) / 86_400:g} days after the match{due}"
    yield f"  {waiting}"


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value


def _not_in_force(unknown: list[str], rows: list[dict[str, object]]) -> Iterator[str]:
    for name in unknown:
        yield f"{name}  (in the configuration)  not in force yet: the next crawl or sync takes it over"
    if not rows and not unknown:
        yield "there are no subscriptions: `empiar-mirror subscribe` makes one"


def _shown(settings: Settings, row: dict[str, object]) -> Iterator[str]:
    from empiar_mirror.reading import reading

    yield _line(row)
    yield f"  {row['sql']}"
    for key in ("view", "channel"):
        if row[key] is not None:
            yield f"  {key}: {row[key]}"
    if row["new_only"]:
        yield "  only what is new since it was made"
    yield from _order_lines(row)
    yield f"  made {row['created_at']}, evaluated {row['evaluated_at'] or 'never'}"
    with reading(settings.root) as connection:
        query = (
            "SELECT empiar_id, count(file_id), max(gone_at), max(wanted_at), max(left_out) FROM subscription_matches"
            " WHERE name = ? GROUP BY empiar_id ORDER BY max(matched_at) DESC, empiar_id LIMIT ?"
        )
        for empiar_id, files, gone, wanted, left_out in connection.execute(query, (row["name"], _NAMED)):
            which = f", {files:,} files" if files else ""
            state = f"wanted since {wanted}" if wanted else "not wanted"
            left = f"; left out: {left_out}" if left_out else ""
            ended = f"; no longer returned since {gone}" if gone else ""
            yield f"  EMPIAR-{empiar_id}{which}: {state}{left}{ended}"
    yield "all matches: the view subscription_matches"
    if row["held_at"]:
        yield f"`empiar-mirror subscriptions resume {row['name']}` puts it in force again"
