"""Opening a database, and what happens when it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Column, MetaData, Table, Text, insert, select, text, update

from bascule.model.errors import InvalidInput, SystemFailure, Unavailable
from bascule.store.database import Database, migrate, open_database


@pytest.mark.parametrize("url", ["nonsense", "", "oracle://somewhere", "postgresql+nosuchdriver://host/name"])
def test_a_url_nobody_can_read_is_refused_by_name(url: str) -> None:
    """The sentence names the setting and shows one that works."""
    with pytest.raises(InvalidInput, match="BASCULE_DATABASE_URL"):
        open_database(url)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The sentence tells where."""
    (tmp_path / "file").touch()
    with pytest.raises(SystemFailure, match="file"):
        open_database(f"sqlite:///{tmp_path}/file/bascule.db")


def test_a_reader_sees_one_moment_and_waits_for_nobody(database_url: str) -> None:
    """What is committed meanwhile is not in it, and a writer that holds the row does not stop it."""
    engine = open_database(database_url)
    database = Database(engine)
    notes = Table("notes", MetaData(), Column("words", Text))
    with database.write() as connection:
        notes.create(connection)
        connection.execute(insert(notes).values(words="before"))
    with database.read() as reader:
        assert reader.execute(select(notes.c.words)).scalars().all() == ["before"]
        with database.write() as writer:
            writer.execute(update(notes).values(words="after"))
            assert reader.execute(select(notes.c.words)).scalars().all() == ["before"]
        assert reader.execute(select(notes.c.words)).scalars().all() == ["before"]
    with database.read() as reader:
        assert reader.execute(select(notes.c.words)).scalars().all() == ["after"]
    engine.dispose()


def test_a_file_that_is_no_database_does_not_answer(tmp_path: Path) -> None:
    """It is left as it is."""
    path = tmp_path / "bascule.db"
    path.write_text("dear diary" * 100)
    with pytest.raises(Unavailable):
        migrate(open_database(f"sqlite:///{path}"))
    assert path.read_text() == "dear diary" * 100


def test_a_full_disk_refuses_the_change_and_keeps_what_was(tmp_path: Path) -> None:
    """When SQLite has no room left the transaction is undone, and reading goes on."""
    engine = open_database(f"sqlite:///{tmp_path}/bascule.db")
    database = Database(engine)
    with database.write() as connection:
        connection.execute(text("CREATE TABLE notes (words TEXT)"))
        connection.execute(text("INSERT INTO notes VALUES ('kept')"))
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
        connection.execute(text(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(Unavailable), database.write() as connection:
        connection.execute(text("INSERT INTO notes VALUES (:words)"), {"words": "x" * 100_000})
    with database.read() as connection:
        assert connection.execute(text("SELECT words FROM notes")).scalars().all() == ["kept"]
    engine.dispose()
