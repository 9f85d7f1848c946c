"""``kptk config | models | download | doctor | check-model``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kptk.cli.app import (
    Json,
    app,
    dump,
    fail_unless,
    finite,
    only_json,
)
from kptk.errors import ConfigError


@app.command()
def config(
    name: Annotated[str, typer.Argument(help="demo or human_keypoint_detection.")],
    save_path: Annotated[
        Path, typer.Option("--save-path", "-o", help="A folder, or a name ending in .yaml.")
    ] = Path("."),
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Save a pipeline's configuration, to be edited and given to --pipeline."""
    from kptk.cache import replacing
    from kptk.config import builtin_config

    text = builtin_config(name)
    is_file = save_path.suffix.lower() in (".yaml", ".yml") and not save_path.is_dir()
    target = save_path if is_file else save_path / f"{name}.yaml"
    if target.exists() and not force:
        raise ConfigError(f"{target} exists already. Use --force to replace it.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {error.strerror or error}.") from error
    typer.echo(f"{target}")


@app.command()
def models(
    measure: Annotated[
        bool, typer.Option("--measure", help="Time the models that are on this machine.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the models by name, with what is published about them."""
    from kptk import list_models

    with only_json(as_json) as out:
        table = list_models()
        if measure:
            from kptk.trial import measure_models

            here = measure_models(lambda name: typer.echo(f"timing {name} ...", err=True))
            table["ms_here"] = table["name"].map(here)
        if as_json:
            dump({"models": finite(table.to_dict(orient="records"))}, out)
        else:
            typer.echo(table.to_string(index=False, na_rep="-"))


@app.command()
def download(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of models.")],
) -> None:
    """Fetch models now, so that they are there later without a network."""
    from kptk.zoo import find_model

    for name in names:
        typer.echo(f"{find_model(name).path}")


@app.command()
def doctor(
    official: Annotated[
        bool, typer.Option("--official", help="Fetch and try the official models too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show versions, engines and devices, and try out what is here."""
    from kptk.doctor import diagnose

    with only_json(as_json) as out:
        found = diagnose(official=official)
        if as_json:
            dump(finite(found.json), out)
        else:
            typer.echo(repr(found))
    fail_unless(found.ok)


@app.command("check-model")
def check_model(
    model: Annotated[str, typer.Argument(help="A model directory, .pdparams file or name.")],
    as_json: Json = False,
) -> None:
    """Look a model over: its files, names and sizes, and whether every engine runs it alike."""
    from kptk.preflight import check_model

    with only_json(as_json) as out:
        report = check_model(model)
        if as_json:
            dump(finite(report.json), out)
        else:
            typer.echo(repr(report))
    fail_unless(report.ok)
