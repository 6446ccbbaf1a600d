"""The workspace: every setting is checked with a place, it is found in the documented order, and made safely twice."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path

import pytest

from reconciler.core.errors import WorkspaceError
from reconciler.workspace import Address, Workspace
from reconciler.workspace.settings import SETTINGS, read_settings
from reconciler.workspace.values import display, is_remote

ORIGINS = {
    "openai": "https://api.openai.com",
    "anthropic": "https://api.anthropic.com",
    "gemini": "https://generativelanguage.googleapis.com",
    "openrouter": "https://openrouter.ai",
}
FILE = Path("/w/pai.toml")


def read(text: str, **environment: str) -> object:
    return read_settings(text.encode(), FILE, environment)


def failure(text: str, **environment: str) -> WorkspaceError:
    with pytest.raises(WorkspaceError) as caught:
        read_settings(text.encode(), FILE, environment)
    return caught.value


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_settings_of_an_empty_file_are_the_documented_defaults() -> None:
    """Leaving everything out gives the table of the specification."""
    settings = read_settings(b"", FILE, {})
    assert settings.source_repo == "config.git"
    assert (settings.source_branch, settings.source_path, settings.source_interval_s) == ("main", ".", 15.0)
    assert settings.gateway_listen == Address("127.0.0.1", 8000)
    assert settings.admin_listen == Address("127.0.0.1", 8001)
    assert settings.log_database == "sqlite:data/log.db"
    assert settings.gateway_default_max_output_tokens == 16384
    assert settings.base_urls == ORIGINS
    assert settings.secrets_directory == ""
    assert settings.shown["source.interval"] == "15s"
    assert set(settings.shown) == {setting.name for setting in SETTINGS}


def test_settings_of_a_new_workspace_name_every_setting_with_its_default(tmp_path: Path) -> None:
    """The made `pai.toml` holds each setting once, with a comment, and reads as the defaults."""
    text = (Workspace.create(tmp_path, {}).root / "pai.toml").read_text()
    tree: object = tomllib.loads(text)
    for setting in SETTINGS:
        value = tree
        for part in setting.name.split("."):
            assert isinstance(value, dict)
            value = value[part]
        assert value == setting.default
    lines = text.splitlines()
    assert all(lines[n - 1].startswith("#") for n, line in enumerate(lines) if " = " in line and line[0] != "#")
    assert read_settings(text.encode(), FILE, {}) == read_settings(b"", FILE, {})


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("PAI_SOURCE_REPO", "/srv/team.git", "source_repo", "/srv/team.git"),
        ("PAI_SOURCE_INTERVAL", "500ms", "source_interval_s", 0.5),
        ("PAI_SOURCE_PUSH", "true", "source_push", True),
        ("PAI_SOURCE_REWRITE", "hold", "source_rewrite", "hold"),
        ("PAI_SOURCE_SECRET", "forge", "source_secret", "forge"),
        ("PAI_GATEWAY_LISTEN", "[::1]:9000", "gateway_listen", Address("::1", 9000)),
        ("PAI_GATEWAY_DEFAULT_MAX_OUTPUT_TOKENS", "512", "gateway_default_max_output_tokens", 512),
        (
            "PAI_PROVIDERS_OPENAI_BASE_URL",
            "http://127.0.0.1:9999/",
            "base_urls",
            ORIGINS | {"openai": "http://127.0.0.1:9999"},
        ),
        ("PAI_SECRETS_DIRECTORY", "", "secrets_directory", ""),
    ],
)
def test_variable_overrides_the_file(variable: str, value: str, field: str, expected: object) -> None:
    """A variable wins over `pai.toml`, and is read by the same rules."""
    text = '[source]\nrepo = "x.git"\ninterval = "1m"\n[gateway]\ndefault_max_output_tokens = 9\n'
    assert getattr(read_settings(text.encode(), FILE, {variable: value}), field) == expected


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ('[source]\n\ninterval = "15"\n', "/w/pai.toml:3: source.interval", 'duration, not "15"'),
        ("[source]\ninterval = 15\n", "/w/pai.toml:2: source.interval", "the number 15"),
        ('[source]\ninterval = "0s"\n', "/w/pai.toml:2: source.interval", "from 1ms to 24h"),
        ('[source]\npush = "yes"\n', "/w/pai.toml:2: source.push", "true or false"),
        ("[source]\npush = 1\n", "/w/pai.toml:2: source.push", "true or false"),
        ('[source]\nrewrite = "refuse"\n', "/w/pai.toml:2: source.rewrite", "accept or hold"),
        ('[source]\nrequire_signatures = "all"\n', "/w/pai.toml:2: source.require_signatures", "nobody may sign"),
        ('[source]\nsecret = "ghp_hunter2"\n', "/w/pai.toml:2: source.secret", "never the secret itself"),
        ('[source]\nca_file = "https://h/ca"\n', "/w/pai.toml:2: source.ca_file", "not a URL"),
        ("[source]\nrepo = 7\n", "/w/pai.toml:2: source.repo", "must be text"),
        ('[source]\nrepo = ""\n', "/w/pai.toml:2: source.repo", "must not be empty"),
        ('[source]\nrepo = "git://h/x"\n', "/w/pai.toml:2: source.repo", "scheme git"),
        ('[source]\nrepo = "http://example.com/x"\n', "/w/pai.toml:2: source.repo", "uses http"),
        ('[source]\nbranch = "a..b"\n', "/w/pai.toml:2: source.branch", "no branch name"),
        ('[source]\nbranch = "refs/heads/x"\n', "/w/pai.toml:2: source.branch", "short name"),
        ('[source]\npath = "../x"\n', "/w/pai.toml:2: source.path", "inside the repository"),
        ('[source]\npath = "/x"\n', "/w/pai.toml:2: source.path", "inside the repository"),
        ('[gateway]\nlisten = "8000"\n', "/w/pai.toml:2: gateway.listen", "host:port"),
        ('[gateway]\nlisten = "h:65536"\n', "/w/pai.toml:2: gateway.listen", "65535"),
        ('[gateway]\nlisten = "[1.2.3.4]:80"\n', "/w/pai.toml:2: gateway.listen", "IPv6"),
        ('[gateway]\nlisten = "1.2.3:80"\n', "/w/pai.toml:2: gateway.listen", "no valid host"),
        ("[gateway]\ndefault_max_output_tokens = true\n", "/w/pai.toml:2: gateway.default", "whole number"),
        ("[gateway]\ndefault_max_output_tokens = 0\n", "/w/pai.toml:2: gateway.default", "from 1 to"),
        ('[log]\ndatabase = "log.db"\n', "/w/pai.toml:2: log.database", "sqlite:PATH"),
        ('[log]\ndatabase = "sqlite::memory:"\n', "/w/pai.toml:2: log.database", "must name a file"),
        (
            '[log]\ndatabase = "postgresql://u:hunter2@h@x/d"\n',
            "/w/pai.toml:2: log.database",
            "no URL of Postgres",
        ),
        ('[providers.openai]\nbase_url = "https://h/v1"\n', "/w/pai.toml:2: providers.openai", "without a path"),
        ('[providers]\ngemini.base_url = "ftp://h"\n', "/w/pai.toml:2: providers.gemini", "scheme ftp"),
        ('providers = {openai = {base_url = "x"}}\n', "/w/pai.toml:1: providers.openai", "origin"),
        ('[source]\nrewrite = "no"\n', "/w/pai.toml:2: source.rewrite", "accept or hold"),
        ('[secrets]\ndirectory = "http://h"\n', "/w/pai.toml:2: secrets.directory", "a path, not a URL"),
        ("source = 1\n", "/w/pai.toml:1: source", "is a section"),
        ("[source]\nrepo = \n", "/w/pai.toml:2:8:", "invalid value"),
        ("[source\n", "/w/pai.toml:1:8:", "expected"),
    ],
)
def test_wrong_setting_is_refused_with_its_line(text: str, place: str, words: str) -> None:
    """Each wrong value names file and line, what is wrong and a way out, and never shows what may be a credential."""
    error = failure(text)
    assert error.hint
    assert error.message.startswith(place)
    assert words in error.message
    assert error.exit_code == 3
    assert "hunter2" not in error.message + error.hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('[source]\nrepos = "x"\n', "did you mean source.repo?"),
        ('[sources]\nrepo = "x"\n', "did you mean source?"),
        ('repo = "x"\n', "did you mean source.repo or forge.repo?"),
        ('[providers.opneai]\nbase_url = "x"\n', "did you mean providers.openai?"),
        ('[gateway]\nzzz = "x"\n', "there are gateway.listen, gateway.default"),
        ("[zzz]\nx = 1\n", "there are admin, forge, gateway"),
        ('[source]\nbrnch = "x"\n', "did you mean source.branch?"),
    ],
)
def test_unknown_setting_is_passed_over_with_the_one_meant(text: str, hint: str) -> None:
    """An unknown section or key changes nothing, and is told with its line and the one that was probably meant."""
    settings = read(text)
    (error,) = settings.unknown
    assert settings._replace(unknown=()) == read("")
    assert error.message.startswith("/w/pai.toml:")
    assert "there is no" in error.message
    assert error.hint.startswith(hint)


def test_wrong_variable_is_named() -> None:
    """A wrong override names the variable, not the file."""
    error = failure("", PAI_GATEWAY_DEFAULT_MAX_OUTPUT_TOKENS="many")
    assert error.message.startswith("PAI_GATEWAY_DEFAULT_MAX_OUTPUT_TOKENS: gateway.default_max_output_tokens must be")


def test_foreign_variable_is_left_alone() -> None:
    """Variables that a container platform adds for its services are not taken for settings."""
    assert read("", PAI_GATEWAY_PORT="tcp://10.0.0.1:80", PAI_KEY="pak_x", PAI_SECRET_A_B="c")


@pytest.mark.parametrize(
    ("gateway", "admin", "same"),
    [
        ("127.0.0.1:8000", "127.0.0.1:8000", True),
        ("0.0.0.0:8000", "127.0.0.1:8000", True),
        ("[::]:8000", "127.0.0.1:8000", True),
        ("localhost:8000", "127.0.0.1:8000", True),
        ("[::1]:8000", "127.0.0.1:8000", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("127.0.0.1:8000", "10.0.0.1:8000", False),
    ],
)
def test_admin_listener_never_shares_the_agents_port(gateway: str, admin: str, same: bool) -> None:
    """Admin and gateway on one address are refused, also under another spelling."""
    variables = {"PAI_GATEWAY_LISTEN": gateway, "PAI_ADMIN_LISTEN": admin}
    if same:
        error = failure("", **variables)
        assert error.message.startswith("PAI_ADMIN_LISTEN: admin.listen")
        assert "PAI_GATEWAY_LISTEN" in error.message
    else:
        assert read("", **variables)


@pytest.mark.parametrize(
    ("repo", "shown"),
    [
        ("https://user:hunter2@example.com/x.git", "https://***@example.com/x.git"),
        ("https://ghp_hunter2@example.com/x.git", "https://***@example.com/x.git"),
        ("ssh://git:hunter2@example.com/x.git", "ssh://***@example.com/x.git"),
        ("ssh://git@example.com/x.git", "ssh://git@example.com/x.git"),
        ("git@example.com:x.git", "git@example.com:x.git"),
        ("http://u:hunter2@localhost:3000/x@y.git", "http://***@localhost:3000/x@y.git"),
        ("https://user:12/hunter2@example.com/x.git", "https://***@example.com/x.git"),
        ("/srv/team@home/x.git", "/srv/team@home/x.git"),
        ("config.git", "config.git"),
    ],
)
def test_repository_is_shown_without_its_credentials(repo: str, shown: str) -> None:
    """Credentials in a repository's URL are kept for the fetch and shown nowhere."""
    settings = read_settings(b"", FILE, {"PAI_SOURCE_REPO": repo})
    assert settings.source_repo == repo
    assert settings.shown["source.repo"] == display(repo) == shown
    assert is_remote(repo) == (repo not in ("config.git", "/srv/team@home/x.git"))


@pytest.mark.parametrize(
    "repo",
    [
        "https://user:hunter2/x@example.com/x.git",
        "https://user:hunter2@/x.git",
        "https://u:p@exa mple.com/hunter2",
        "http://u:hunter2@example.com/x",
        "ftp://u:hunter2@example.com/x",
        "https://example.com/x?token=hunter2",
        "https:/user:hunter2@example.com/x",
        "https//user:hunter2@example.com/x",
        "https:/hunter2@example.com/x",
        "https:user:hunter2@example.com/x",
        "user:hunter2@example.com:x",
        "htps:/user:hunter2@example.com/x",
    ],
)
def test_refused_repository_does_not_show_its_credentials(repo: str) -> None:
    """The message about a wrong URL, or one that a typing error made a path, does not repeat the credentials."""
    error = failure("", PAI_SOURCE_REPO=repo)
    assert "hunter2" not in error.message + error.hint


def test_settings_file_that_is_not_text_is_refused() -> None:
    """Bytes that are not UTF-8 are an error with a line; a byte order mark is none."""
    with pytest.raises(WorkspaceError, match=r"^/w/pai.toml:2: not UTF-8"):
        read_settings(b"#\n\xff\n", FILE, {})
    assert read_settings(b"\xef\xbb\xbf[source]\r\n", FILE, {})


def test_workspace_is_made_with_private_data_and_made_twice_without_change(tmp_path: Path) -> None:
    """A second `create` changes no file, only repairs modes and adds what is missing."""
    root = tmp_path / "new" / "team"
    made = Workspace.create(root, {})
    assert (mode(made.data), mode(made.master_key), mode(made.secrets)) == (0o700, 0o600, 0o700)
    key = made.master_key.read_bytes()
    assert len(key) == 32
    (made.root / "pai.toml").write_text('[source]\nbranch = "prod"\n')
    made.data.chmod(0o755)
    made.master_key.chmod(0o644)
    made.secrets.rmdir()
    again = Workspace.create(root, {})
    assert again.settings.source_branch == "prod"
    assert again.master_key.read_bytes() == key
    assert (mode(made.data), mode(made.master_key), mode(made.secrets)) == (0o700, 0o600, 0o700)
    assert sorted(path.name for path in root.rglob("*")) == ["data", "master.key", "pai.toml", "secrets"]


def test_workspace_half_made_is_completed(tmp_path: Path) -> None:
    """Whatever a killed `create` left, the next one completes; settings come last and mark the workspace."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "master.key").write_bytes(b"k" * 32)
    with pytest.raises(WorkspaceError):
        Workspace.find(tmp_path, {})
    assert Workspace.create(tmp_path, {}).master_key.read_bytes() == b"k" * 32
    assert Workspace.find(tmp_path, {}).root == tmp_path


def test_lost_master_key_of_stored_secrets_is_not_replaced(tmp_path: Path) -> None:
    """A new master key would hide that the stored secrets are lost, so none is made."""
    made = Workspace.create(tmp_path, {})
    (made.secrets / "gemini-key").write_bytes(b"x")
    Workspace.create(tmp_path, {})
    made.master_key.unlink()
    with pytest.raises(WorkspaceError, match="gemini-key"):
        Workspace.create(tmp_path, {})
    assert not made.master_key.exists()


def test_workspace_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    """A file in the way is an error with a hint, not a traceback."""
    (tmp_path / "x").write_text("")
    with pytest.raises(WorkspaceError, match="is a file, and a workspace is a folder"):
        Workspace.create(tmp_path / "x", {})


def test_workspace_is_found_in_the_documented_order(tmp_path: Path) -> None:
    """`--workspace` beats PAI_WORKSPACE beats the nearest parent folder."""
    outer, inner, other = tmp_path / "o", tmp_path / "o" / "i", tmp_path / "other"
    for root in (outer, inner, other):
        Workspace.create(root, {})
    deep = inner / "a" / "b"
    deep.mkdir(parents=True)
    assert Workspace.find(other, {"PAI_WORKSPACE": str(outer)}, deep).root == other
    assert Workspace.find(None, {"PAI_WORKSPACE": str(outer)}, deep).root == outer
    assert Workspace.find(None, {"PAI_WORKSPACE": ""}, deep).root == inner
    assert Workspace.find(None, {}, outer).root == outer


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
@pytest.mark.parametrize("given", [".", "pai.toml", "data"])
@pytest.mark.parametrize("link", [False, True])
def test_workspace_of_another_user_has_to_be_named(
    tmp_path: Path, given: str, link: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been put there for whoever comes by; a link to what is one's own is no better."""
    root, below = tmp_path / "w", tmp_path / "w" / "below"
    Workspace.create(root, {})
    below.mkdir()
    if link and given != ".":
        (root / given).rename(tmp_path / "own")
        (root / given).symlink_to(tmp_path / "own")
    assert Workspace.find(None, {}, below).root == root
    os.chown(root / given, 65534, 65534, follow_symlinks=False)
    with pytest.raises(WorkspaceError, match="belongs to another user") as caught:
        Workspace.find(None, {}, below)
    assert caught.value.hint.endswith(f"--workspace {root}")
    assert (
        Workspace.find(root, {}, below).root == Workspace.find(None, {"PAI_WORKSPACE": str(root)}, below).root == root
    )
    monkeypatch.setenv("SUDO_UID", "65534")
    assert Workspace.find(None, {}, below).root == root
    monkeypatch.setattr("os.geteuid", lambda: 1234)
    with pytest.raises(WorkspaceError, match="belongs to another user"):
        Workspace.find(None, {}, below)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
def test_daemon_of_a_workspace_is_that_of_who_owns_its_data(tmp_path: Path) -> None:
    """Where others may put things into the folder, the folder's owner counts."""
    workspace = Workspace.create(tmp_path, {})
    os.chown(workspace.data, 65534, 65534)
    assert workspace.keeper == 65534
    tmp_path.chmod(0o1777)
    assert workspace.keeper == 0


def test_missing_workspace_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    """No workspace anywhere is exit 3, and the hint is `pai init`."""
    for explicit, environment in ((None, {}), (tmp_path, {}), (None, {"PAI_WORKSPACE": str(tmp_path)})):
        with pytest.raises(WorkspaceError) as caught:
            Workspace.find(explicit, environment, tmp_path)
        assert caught.value.exit_code == 3
        assert "pai init" in caught.value.hint


def test_paths_follow_the_settings(tmp_path: Path) -> None:
    """Relative paths count from the workspace, absolute ones stay, a URL is no folder."""
    Workspace.create(tmp_path, {})
    plain = Workspace.open(tmp_path, {})
    assert plain.log_file == tmp_path / "data/log.db"
    assert plain.repository == tmp_path / "config.git"
    assert plain.secrets_directory is None
    variables = {
        "PAI_SOURCE_REPO": "https://example.com/x",
        "PAI_LOG_DATABASE": "sqlite:/var/pai/l.db",
        "PAI_SECRETS_DIRECTORY": "mounted",
    }
    other = Workspace.open(tmp_path, variables)
    assert other.repository is None
    assert other.log_file == Path("/var/pai/l.db")
    assert other.secrets_directory == tmp_path / "mounted"
