"""The command line: ``tiled-spyde serve`` and ``tiled-spyde demo``."""

from __future__ import annotations

import argparse
import errno
import gc
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from tiled_spyde import __version__
from tiled_spyde.errors import SpydeError
from tiled_spyde.places import database_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

DEFAULT_PORT = 8000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    return _status(partial(options.run, options))


def _status(run: Callable[[], int]) -> int:
    """Return the exit status of `run`; what is wrong is said."""
    try:
        return run()
    except (SpydeError, OSError, ValueError) as error:
        print(f"tiled-spyde: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tiled-spyde", description="Look at microscopy scans from any desk."
    )
    parser.add_argument("--version", action="version", version=f"tiled-spyde {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser(
        "serve",
        help="serve files and folders, or what a configuration says",
        description="Serve files and folders. The first lines it prints say what to open. Ctrl-C ends it.",
        epilog="Nothing is written beside the data. docs/tutorial.md begins with this command.",
    )
    serve.add_argument("paths", nargs="*", metavar="PATH", help="scans, images, spectra, or folders of them")
    serve.add_argument("--config", metavar="FILE", type=Path, help="a configuration (YAML) instead of paths")
    serve.add_argument(
        "--state",
        metavar="DIR",
        type=Path,
        help="where what people make is kept (default: ~/.local/state/tiled-spyde, or as XDG_STATE_HOME says)",
    )
    serve.add_argument(
        "--database",
        metavar="URI",
        help="PostgreSQL for the trees instead of a file: postgresql://USER@HOST/NAME (password: ~/.pgpass)",
    )
    serve.add_argument("--trees", metavar="FILE", type=Path, help="nodes to begin with (YAML)")
    serve.add_argument(
        "--workers",
        metavar="N",
        type=_workers,
        help="server processes (default: what a configuration says, 1)",
    )
    serve.add_argument("--public", action="store_true", help="everyone who can connect may read")
    serve.add_argument("--api-key", metavar="KEY", help="letters and digits; made up when left out")
    serve.add_argument(
        "--root-path", metavar="PATH", type=_root_path, help="where a proxy serves it, such as /spyde"
    )
    _add_address(serve, DEFAULT_PORT)
    serve.set_defaults(run=_serve)

    demo = commands.add_parser(
        "demo",
        help="make a synthetic scan, serve it and open the viewer",
        description="Make a synthetic 4D-STEM scan with a known strain field, serve it, and open the viewer. "
        "Without a display it goes through a tour by itself.",
    )
    demo.add_argument("--once", action="store_true", help="go through a tour, save screenshots, and end")
    demo.add_argument("--offscreen", action="store_true", help="without a display")
    demo.add_argument("--screenshots", metavar="DIR", type=Path, help="where the tour saves them")
    _add_address(demo, 0)
    demo.set_defaults(run=_demo)
    return parser


def _add_address(parser: argparse.ArgumentParser, port: int) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=port, help="0 takes a free one (default: %(default)s)")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port; a port is a number from 0 to 65535")
    return int(text)


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 256:
        raise argparse.ArgumentTypeError(f"{text} is no number of processes; there may be 1 to 256")
    return int(text)


def _root_path(text: str) -> str:
    parts = [part for part in text.split("/") if part]
    if any(not re.fullmatch(r"[\w.~-]+", part, re.ASCII) or set(part) == {"."} for part in parts):
        raise argparse.ArgumentTypeError(f"{text} is no path of plain names, such as /spyde or /tools/spyde")
    return "".join(f"/{part}" for part in parts)


def _serve(options: argparse.Namespace) -> int:
    if bool(options.paths) == bool(options.config):
        raise ValueError("Give either PATHs or --config FILE.")
    if options.config and (options.state or options.trees or options.database):
        raise ValueError("--state, --database and --trees go with PATHs; a configuration says them itself.")
    key = options.api_key or os.environ.get("TILED_SINGLE_USER_API_KEY") or secrets.token_hex(16)
    if not key.isalnum():
        raise ValueError("--api-key may have letters and digits only.")
    count = options.workers or _configured_workers(options.config)
    with _listen(options.host, options.port) as listening:
        if count == 1:
            return _serve_here(options, key, listening)
        from tiled_spyde.metrics import shared
        from tiled_spyde.workers import supervise

        with shared():
            status = supervise(count, partial(_work, options, key, secrets.token_hex(32), count, listening))
        if status < 0:
            signal.raise_signal(-status)  # as if it had not been caught; only now, for nothing follows it
        return status


def _work(
    options: argparse.Namespace,
    key: str,
    secret: str,
    count: int,
    listening: socket.socket,
    first: bool,
    started: Callable[[], None],
) -> int:
    """Be one of `count` processes that serve the same; the first of them says where."""

    def adjust(config: Any) -> None:
        share_out(config, count, secret)

    from tiled_spyde.app import share_out

    return _status(partial(_serve_here, options, key, listening, adjust, first, started))


def _serve_here(
    options: argparse.Namespace,
    key: str,
    listening: socket.socket,
    adjust: Callable[[Any], None] = lambda config: None,
    first: bool = True,
    started: Callable[[], None] = lambda: None,
) -> int:
    from tiled_spyde.postponed import postponed
    from tiled_spyde.server import allow_many_connections, server
    from tiled_spyde.sources.probe import prepared

    allow_many_connections()
    # At a first start files will have to be looked at: a process for that starts beside all the imports here.
    known = options.database or database_in(options.state).exists()
    new = first and bool(options.paths) and not known
    with prepared(new):
        with _nothing_collected(), postponed():
            config = _config(options, key)
            adjust(config)
            app, given = _build(config)
        if first:
            print(_welcome(_url(listening), given, config.authentication.allow_anonymous_access), flush=True)
            Thread(target=_say_progress, args=(config.merged_trees,), daemon=True).start()
        running = server(app, config.root_path, started=started)
        running.run(sockets=[listening])
    return 0 if running.started else 3


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Spare the garbage collector: hardly anything made while starting is garbage, and looking costs a quarter."""
    gc.disable()
    try:
        yield
        gc.freeze()  # what is there now stays, so it is not looked at later either
    finally:
        gc.enable()


def _configured_workers(file: Path | None) -> int:
    """How many processes a configuration asks for, read without all that serving needs; mistakes are said later."""
    import yaml

    if file is None:
        return 1
    files = [file] if file.is_file() else sorted((*file.glob("*.yml"), *file.glob("*.yaml")))
    found = 1
    for one in files:
        with suppress(OSError, ValueError, TypeError, LookupError, yaml.YAMLError):
            found = max(1, int(yaml.safe_load(os.path.expandvars(one.read_text()))["uvicorn"]["workers"]))
    return found


def _config(options: argparse.Namespace, key: str) -> Any:
    from tiled_spyde.app import config_for, read_config

    if not options.config:
        given = {"state": options.state, "trees": options.trees}
        settings = {name: str(path.absolute()) for name, path in given.items() if path}
        if options.database:
            settings["database"] = options.database
        config = config_for(options.paths, api_key=key, public=options.public, **settings)
    else:
        config = read_config(options.config)
    if options.root_path is not None:
        config.uvicorn["root_path"] = options.root_path
    if options.public:
        config.authentication.allow_anonymous_access = True
    if options.api_key or not (config.authentication.single_user_api_key or config.authentication.providers):
        config.authentication.single_user_api_key = key
    return config


def _build(config: Any) -> tuple[Any, str | None]:
    """Return the app of `config`, and the key to show (none where people log in)."""
    from tiled_spyde.app import build

    authentication = config.authentication
    return build(config), None if authentication.providers else authentication.single_user_api_key


def _demo(options: argparse.Namespace) -> int:
    from tiled.config import parse_configs

    from tiled_spyde.server import serving

    has_display = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    alone = options.once or options.offscreen or not has_display
    config = parse_configs(_demo_config())
    key = config.authentication.single_user_api_key = secrets.token_hex(16)
    app, _ = _build(config)
    with _listen(options.host, options.port) as listening, serving(app, listening):
        url = _url(listening)
        print(_welcome(url, key, public=False), flush=True)
        command = [sys.executable, "-m", "viewer", url, "--api-key", key]
        if alone:
            command += ["--tour", str(options.screenshots or _screenshot_folder())]
        environment = dict(os.environ)
        if options.offscreen or not has_display:
            environment["QT_QPA_PLATFORM"] = "offscreen"
            environment.setdefault("QT_LOGGING_RULES", "default.warning=false")  # that it has no size hints
        return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603 - our own viewer


def _demo_config() -> Path:
    """Find the demo's configuration: beside the package in a checkout, in the prefix when installed."""
    here = Path(__file__).resolve().parent.parent / "config" / "demo.yml"
    installed = Path(sys.prefix) / "share" / "tiled-spyde" / "demo.yml"
    return here if here.exists() else installed


def _screenshot_folder() -> Path:
    from tiled_spyde.demo import cache_folder

    return cache_folder() / "screenshots"


def _listen(host: str, port: int) -> socket.socket:
    """Listen before anything slow, so that a taken port is said at once and early visitors wait."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        # Not in its words: asyncio's and the socket module's repeat the address in Python's spelling.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        remedy = "--host" if error.errno != errno.EADDRINUSE else "--port"
        raise ValueError(f"Cannot listen on {host}:{port}: {reason}. Try another {remedy}.") from error


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}"


def _welcome(url: str, key: str | None, public: bool) -> str:
    in_url = f"?api_key={key}" if key and not public else ""
    for_viewer = f" --api-key {key}" if key and not public else ""
    for_curl = f" -H 'Authorization: Apikey {key}'" if key and not public else ""
    return "\n".join(
        (
            f"tiled-spyde {__version__} serves at {url}",
            f"  viewer    tiled-spyde-viewer {url}{for_viewer}",
            f"  browser   {url}/ui/{in_url}",
            f"  python    tiled.client.from_uri('{url}/api/v1{in_url}')",
            f"  curl      curl{for_curl} {url}/api/v1/search/",
            *(["  making nodes needs the key: " + key] if key and public else []),
        )
    )


def _say_progress(tree: Any) -> None:
    """Say how far the folders have been looked through, as long as that takes."""
    said = None
    while (found := tree.metadata().get("attributes", {}).get("indexing")) is not None:
        done = not found["scanning"] and found["done"] >= found["of"]
        # A shared server does not tell how many there are.
        known = f"{found['done']} of {found['of']} files known" if found["of"] else "all files known"
        line = known + ("" if done else ", looking through the folders")
        if line != said and (done or found["of"]):
            print(f"  index     {line}", flush=True)
        if done:
            return
        said = line
        time.sleep(2)


if __name__ == "__main__":
    sys.exit(main())
