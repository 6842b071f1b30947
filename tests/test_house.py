"""Rules of the house that a machine can hold: who imports whom, what a job file may load, sizes, strays."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("models", "pipelines", "cluster", "jobs", "infra", "tests")
LEAVES = {"models.tokens", "pipelines.storage"}
FORBIDDEN = {
    "models": ("ray", "deepspeed", "pipelines", "cluster", "jobs", "infra", "tests"),
    "pipelines": ("ray.train", "ray.tune", "deepspeed", "models", "cluster", "jobs", "infra", "tests"),
    "cluster": ("models", "pipelines", "jobs", "infra", "tests"),
    "jobs": ("infra", "tests"),
}
TOP_LEVEL = {"pyproject.toml", "README.md", "LICENSE", "cluster", "pipelines", "models", "jobs", "tests", "infra"}
TEXT = {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".json", ".cfg", ".sh", ""}


def tracked() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / line for line in listing.stdout.splitlines() if (ROOT / line).is_file()]


def imported(path: Path) -> set[str]:
    """Every module a file imports, wherever the statement stands; `from a import b` counts as a and as a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def is_within(name: str, parent: str) -> bool:
    return name == parent or name.startswith(parent + ".")


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    files = [path for path in tracked() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] == room]
    assert files
    for path in files:
        for name in imported(path):
            if any(is_within(name, leaf) for leaf in LEAVES):
                continue
            # `from models import tokens` names the room and the leaf; the room alone says nothing.
            if name in ("models", "pipelines") and any(
                f"{name}." + leaf.split(".")[1] in imported(path) for leaf in LEAVES
            ):
                continue
            for bad in FORBIDDEN[room]:
                assert not is_within(name, bad), f"{path.relative_to(ROOT)} imports {name}"


def test_the_import_rule_sees_a_forbidden_import(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("def f():\n    from cluster.engine import Engine\n    import ray.train as t\n")
    assert {"cluster.engine", "ray.train"} <= imported(tmp_path / "x.py")


def loaded_after(code: str) -> set[str]:
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.split(".")[0] for name in run.stdout.split()}


def test_importing_models_loads_neither_ray_nor_deepspeed() -> None:
    modules = [f"models.{path.stem}" for path in sorted((ROOT / "models").glob("*.py")) if path.stem != "__init__"]
    loaded = loaded_after("import models, " + ", ".join(modules))
    assert "torch" in loaded
    assert not loaded & {"ray", "deepspeed", "pipelines", "cluster", "jobs"}


def config_modules() -> list[str]:
    """Modules named config; they import what of the pipelines configs are made of."""
    paths = [ROOT / name / "config.py" for name in ("models", "cluster", "jobs", "pipelines/synthetic")]
    paths += [*(ROOT / "models").glob("*_config.py"), *(ROOT / "jobs" / "parts").glob("*_config.py")]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted(paths)]


def test_the_contract_and_the_configs_load_nothing_heavy() -> None:
    modules = [*config_modules(), "models.tokens", "models.smoothing", "cluster.protocols"]
    assert len(modules) > 20
    loaded = loaded_after("import " + ", ".join(modules))
    assert not loaded & {"torch", "ray", "deepspeed", "cv2", "pandas", "transformers", "matplotlib", "scipy"}


def job_files() -> list[Path]:
    return sorted(path for path in (ROOT / "jobs").glob("*.py") if path.read_text().startswith("#!"))


@pytest.mark.parametrize("job", [path.name for path in job_files()])
def test_a_job_can_be_executed_and_explains_itself_before_loading_anything_heavy(job: str) -> None:
    path = ROOT / "jobs" / job
    assert path.read_text().startswith("#!/usr/bin/env python")
    assert path.stat().st_mode & 0o111, f"{job} lacks the run bit"
    run = subprocess.run(
        [sys.executable, "-X", "importtime", str(path), "--help"], cwd="/", capture_output=True, text=True, check=True
    )
    assert "usage" in run.stdout.lower()
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in run.stderr.splitlines() if "|" in line}
    assert not loaded & {"torch", "ray", "deepspeed", "cv2", "pandas", "transformers", "matplotlib"}


def test_every_job_is_a_verb_or_a_module_they_share() -> None:
    assert {path.stem for path in (ROOT / "jobs").glob("*.py")} - {path.stem for path in job_files()} == {
        "__init__",
        "config",
    }


def test_files_stay_short_and_functions_fit_a_screen() -> None:
    for path in tracked():
        if path.suffix != ".py":
            continue
        text = path.read_text()
        assert text.count("\n") <= 400, f"{path.relative_to(ROOT)} has over 400 lines: split the idea"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno > 80:
                raise AssertionError(f"{path.relative_to(ROOT)}: {node.name} does not fit a screen")


def test_the_top_level_is_the_agreed_one() -> None:
    names = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert {name for name in names if not name.startswith(".")} <= TOP_LEVEL


def test_no_file_names_a_registry_a_machine_or_a_secret() -> None:
    patterns = (
        "pypi" + r"\.org",
        "pythonhosted" + r"\.org",
        "registry" + r"\.npmjs",
        "deb" + r"\.debian",
        "/" + "work/",
        r"AKIA[0-9A-Z]{16}",
    )
    for path in tracked():
        if path.suffix in TEXT:
            found = re.search("|".join(patterns), path.read_text(errors="ignore"))
            assert found is None, f"{path.relative_to(ROOT)} contains {found.group()!r}"


def test_the_lock_pins_every_package_with_hashes() -> None:
    for name in ("requirements.txt", "requirements-test.txt"):
        text = (ROOT / "infra" / name).read_text()
        pins = re.findall(r"^([a-z0-9._-]+)==", text, flags=re.MULTILINE | re.IGNORECASE)
        assert {"torch", "ray", "deepspeed", "timm"} <= set(pins)
        for entry in re.split(r"\n(?=\S)", text.strip()):
            assert "--hash=sha256:" in entry, entry.splitlines()[0]


def test_the_readme_is_short() -> None:
    assert (ROOT / "README.md").read_text().count("\n") < 250


def unsafe_calls(tree: ast.AST) -> set[str]:
    """Ways to run code that is in a file: pickles in any wrapping, YAML, and tables read past pipelines.parquet."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        said = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if name == "np.load" and said.get("allow_pickle") != "False":
            found.add(name)
        if name == "torch.load" and said.get("weights_only") != "True":
            found.add(name)
        if name in ("eval", "exec", "yaml.load", "joblib.load", "pd.read_pickle", "pa.deserialize"):
            found.add(name)
        if re.fullmatch(r"(c?pickle|cloudpickle|dill)\.(loads?|Unpickler)", name):
            found.add(name)
        if re.fullmatch(
            r"(pq|pa\.parquet|pd|ray\.data|ds)\.(read_table|read_parquet|ParquetFile|ParquetDataset)", name
        ):
            found.add(name)
    return found


def test_nothing_that_may_come_from_outside_is_read_in_a_way_that_runs_code() -> None:
    for path in tracked():
        room = path.relative_to(ROOT).parts[0]
        if path.suffix == ".py" and room in ("models", "pipelines", "cluster", "jobs"):
            allowed = {"pq.ParquetFile"} if path.name == "parquet.py" else set()
            assert unsafe_calls(ast.parse(path.read_text())) <= allowed, path.relative_to(ROOT)


def test_the_rule_against_unpickling_sees_it() -> None:
    code = "np.load(f)\ntorch.load(f, weights_only=False)\npickle.loads(b)\npq.read_table(f)\nyaml.load(f)"
    assert len(unsafe_calls(ast.parse(code))) == 5
    assert unsafe_calls(ast.parse("np.load(f, allow_pickle=False)\nmodel.eval()")) == set()
