from __future__ import annotations

from pathlib import Path

from pytest_django import Settings

from portal import static_files


def test_files_are_hashed_and_compressed_with_gzip_whatever_else_is_installed(
    settings: Settings, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "long.css").write_text("a { color: red }\n" * 1000)
    settings.STATICFILES_DIRS = [source]
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    settings.STATIC_ROOT = tmp_path / "static"
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "portal.static_files.Gzipped"},
    }
    static_files.collect()
    kinds = {path.suffix for path in (tmp_path / "static").glob("long.*")}
    assert kinds == {".css", ".gz"}
    assert len(list((tmp_path / "static").glob("long.*.css.gz"))) == 1
