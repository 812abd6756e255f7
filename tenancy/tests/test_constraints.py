"""Walls as constraints of the model: they survive migrations in every direction."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connections, migrations, models
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.questioner import NonInteractiveMigrationQuestioner
from django.db.migrations.state import ModelState, ProjectState
from django.db.migrations.writer import MigrationWriter
from django.test.utils import isolate_apps

from tenancy.constraints import (
    CURRENT_TENANT,
    CompositeForeignKey,
    Grant,
    Policy,
    RowLevelSecurity,
    TenantPolicy,
    tenant_column,
    tenant_constraints,
    tenant_models,
)
from tenancy.operations import CreateUnloggedModel, RunRoleSQL

EXAMPLES: list[Any] = [
    RowLevelSecurity(name="a"),
    Policy(name="b", role="operator", expression="true"),
    Policy(name="b", role="app", expression="NOT is_staff", restrictive=True),
    TenantPolicy(name="c", field="owner", role="app"),
    Grant(name="d", role="app", privileges=["SELECT", "UPDATE (title)"]),
    CompositeForeignKey(name="e", fields=["owner", "shelf"], to="library.Shelf", to_fields=["owner", "id"]),
]
OTHERS: list[Any] = [
    RowLevelSecurity(name="a2"),
    Policy(name="b", role="operator", expression="false"),
    Policy(name="b", role="app", expression="NOT is_staff"),
    TenantPolicy(name="c", field="id"),
    Grant(name="d", role="app", privileges=["SELECT"]),
    CompositeForeignKey(name="e", fields=["shelf"], to="library.Shelf", to_fields=["id"]),
]


@pytest.mark.parametrize("example", EXAMPLES, ids=repr)
def test_constraint_is_rebuilt_from_its_parts(example: Any) -> None:
    path, args, kwargs = example.deconstruct()
    copy = type(example)(*args, **kwargs)
    assert path == f"tenancy.constraints.{type(example).__name__}"
    assert copy == example == example.clone()
    assert hash(copy) == hash(example)
    text, imports = MigrationWriter.serialize(example)
    scope: dict[str, Any] = {}
    exec("\n".join(imports), scope)
    assert eval(text, scope) == example


@pytest.mark.parametrize(("example", "other"), list(zip(EXAMPLES, OTHERS, strict=True)), ids=repr)
def test_constraint_that_differs_anywhere_is_another(example: Any, other: Any) -> None:
    assert example != other
    assert example != "not a constraint"


def test_policy_compares_with_the_current_tenant_and_has_no_way_round() -> None:
    assert CURRENT_TENANT == "(SELECT NULLIF(current_setting('app.current_creator_id', true), '')::uuid)"


# --- a library with shelves and books, migrated step by step --------------------------------------


class Library:
    """An app of somebody else's, in the test database, as the owner."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.steps: list[tuple[Any, ProjectState, ProjectState]] = []
        self.state = ProjectState()

    def migrate(self, *operations: Any) -> None:
        for operation in operations:
            after = self.state.clone()
            operation.state_forwards("library", after)
            with self.connection.schema_editor() as editor:
                operation.database_forwards("library", editor, self.state, after)
            self.steps.append((operation, self.state, after))
            self.state = after

    def take_back(self, count: int | None = None) -> None:
        for _ in range(len(self.steps) if count is None else count):
            operation, before, after = self.steps.pop()
            with self.connection.schema_editor() as editor:
                operation.database_backwards("library", editor, after, before)
            self.state = before


def create(name: str, table: str, fields: list[Any], constraints: list[Any]) -> migrations.CreateModel:
    key = [("id", models.UUIDField(primary_key=True)), ("owner", models.UUIDField())]
    return migrations.CreateModel(name, [*key, *fields], {"db_table": table, "constraints": constraints})


def walled(table: str) -> list[Any]:
    key = models.UniqueConstraint(fields=["owner", "id"], name=f"{table}_tenant_key")
    return [
        key,
        *tenant_constraints(
            table, field="owner", app=["SELECT", "INSERT", "UPDATE (title)"], operator=["SELECT"]
        ),
    ]


TITLE = ("title", models.TextField())
SHELF = create("Shelf", "shelves", [TITLE], walled("shelves"))
BOOK = create("Book", "books", [TITLE, ("shelf", models.UUIDField())], walled("books"))
BOOK_ON_SHELF = migrations.AddConstraint(
    "book",
    CompositeForeignKey(
        name="books_shelf", fields=["owner", "shelf"], to="library.Shelf", to_fields=["owner", "id"]
    ),
)


@pytest.fixture
def library(transactional_db: None) -> Iterator[Library]:
    library = Library(connections["owner"])
    yield library
    library.take_back()


def stands(superuser: psycopg.Connection) -> dict[str, list[str]]:
    """What PostgreSQL has of the library, table by table."""
    queries = {
        "rls": "SELECT relname || CASE WHEN relrowsecurity AND relforcerowsecurity THEN '' ELSE ' by half' END "
               "FROM pg_class WHERE relname IN ('shelves', 'books', 'tomes') "
               "AND (relrowsecurity OR relforcerowsecurity)",
        "policies": "SELECT tablename || ' ' || policyname || ' ' || qual FROM pg_policies "
                    "WHERE tablename IN ('shelves', 'books', 'tomes') AND qual <> 'true'",
        "references": "SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint "
                      "WHERE contype = 'f' AND conrelid::regclass::text IN ('shelves', 'books', 'tomes')",
        "grants": "SELECT relname || ' ' || grantee::regrole || ' ' || privilege_type FROM pg_class, "
                  "aclexplode(relacl) WHERE relname IN ('shelves', 'books', 'tomes') AND grantee <> relowner "
                  "UNION SELECT attrelid::regclass || ' ' || grantee::regrole || ' ' || privilege_type || ' ' || attname "
                  "FROM pg_attribute, aclexplode(attacl) WHERE attrelid::regclass::text IN ('shelves', 'books', 'tomes')",
    }  # fmt: skip
    found = {key: [name for (name,) in superuser.execute(query.encode())] for key, query in queries.items()}
    return {key: sorted(names) for key, names in found.items()}


NOTHING: dict[str, list[str]] = {"rls": [], "policies": [], "references": [], "grants": []}
TENANT = "({} = ( SELECT (NULLIF(current_setting('app.current_creator_id'::text, true), ''::text))::uuid AS \"nullif\"))"


def test_tables_are_made_with_their_walls_and_unmade(library: Library, superuser: psycopg.Connection) -> None:
    library.migrate(SHELF, BOOK, BOOK_ON_SHELF)
    assert stands(superuser) == {
        "rls": ["books", "shelves"],
        "policies": [f"{table} {table}_tenant {TENANT.format('owner')}" for table in ("books", "shelves")],
        "references": [
            "books_shelf FOREIGN KEY (owner, shelf) REFERENCES shelves(owner, id) ON DELETE CASCADE"
        ],
        "grants": [
            f"{table} auth_{grant}" for table in ("books", "shelves")
            for grant in ("app INSERT", "app SELECT", "app UPDATE title", "operator SELECT")
        ],
    }  # fmt: skip
    library.take_back(1)
    assert stands(superuser)["references"] == []
    library.take_back()
    assert stands(superuser) == NOTHING


def test_each_wall_can_be_taken_down_and_put_up_again(
    library: Library, superuser: psycopg.Connection
) -> None:
    library.migrate(SHELF, BOOK, BOOK_ON_SHELF)
    up = stands(superuser)
    walls = [*walled("books")[1:], BOOK_ON_SHELF.constraint]
    for wall in walls:
        library.migrate(migrations.RemoveConstraint("book", wall.name))
        assert stands(superuser) != up or wall.name == "books_operator", wall
    down = stands(superuser)
    assert not any("books" in line for lines in down.values() for line in lines)
    library.take_back(len(walls))
    assert stands(superuser) == up


def test_walls_follow_a_renamed_field_and_table(library: Library, superuser: psycopg.Connection) -> None:
    library.migrate(SHELF, BOOK, BOOK_ON_SHELF)
    before = stands(superuser)
    library.migrate(
        migrations.RenameField("book", "owner", "creator_id"),
        migrations.RenameModel("Book", "Tome"),
        migrations.AlterModelTable("tome", "tomes"),
    )
    after = stands(superuser)
    assert f"tomes books_tenant {TENANT.format('creator_id')}" in after["policies"]
    assert "tomes" in after["rls"]
    assert "tomes auth_app UPDATE title" in after["grants"]
    assert "FOREIGN KEY (creator_id, shelf) REFERENCES shelves(owner, id)" in after["references"][0]
    library.take_back(3)
    assert stands(superuser) == before
    library.take_back()
    assert stands(superuser) == NOTHING


def test_walls_are_declared_anew_with_a_renamed_field(
    library: Library, superuser: psycopg.Connection
) -> None:
    """As `makemigrations` does it: down, rename, up."""
    library.migrate(SHELF)
    before = stands(superuser)
    library.migrate(
        migrations.RemoveConstraint("shelf", "shelves_tenant"),
        migrations.RenameField("shelf", "owner", "creator_id"),
        migrations.AddConstraint("shelf", TenantPolicy(name="shelves_tenant", field="creator_id")),
    )
    assert stands(superuser)["policies"] == [f"shelves shelves_tenant {TENANT.format('creator_id')}"]
    library.take_back(3)
    assert stands(superuser) == before


def changes(old: ProjectState, new: ProjectState) -> list[Any]:
    detector = MigrationAutodetector(old, new, NonInteractiveMigrationQuestioner(specified_apps={"library"}))
    found = detector._detect_changes()
    return [operation for migration in found.get("library", []) for operation in migration.operations]


def test_makemigrations_finds_what_changed_and_nothing_else() -> None:
    def library_of(*constraints: Any) -> ProjectState:
        state = ProjectState()
        state.add_model(ModelState("library", "Shelf", create("Shelf", "shelves", [TITLE], []).fields,
                                   {"db_table": "shelves", "constraints": list(constraints)}))  # fmt: skip
        return state

    grant = Grant(name="g", role="app", privileges=["SELECT"])
    wider = Grant(name="g", role="app", privileges=["SELECT", "DELETE"])
    assert changes(library_of(grant), library_of(grant.clone())) == []
    removed, added = changes(library_of(grant), library_of(wider))
    assert (removed.name, added.constraint) == ("g", wider)


def test_tenant_tables_come_in_an_order_in_which_rows_can_be_inserted() -> None:
    with isolate_apps("tenancy") as registry:

        class Book(models.Model):
            owner = models.UUIDField()
            shelf_id = models.UUIDField()

            class Meta:
                app_label = "tenancy"
                constraints = [
                    *tenant_constraints("b", field="owner", app=[], operator=[]),
                    CompositeForeignKey(
                        name="r", fields=["owner", "shelf_id"], to="tenancy.Shelf", to_fields=["owner", "id"]
                    ),
                    CompositeForeignKey(
                        name="s", fields=["owner", "id"], to="tenancy.Book", to_fields=["owner", "id"]
                    ),
                ]

        class Shelf(models.Model):
            owner = models.UUIDField(db_column="tenant")

            class Meta:
                app_label = "tenancy"
                constraints = tenant_constraints("s", field="owner", app=[], operator=[])

        class Street(models.Model):
            class Meta:
                app_label = "tenancy"

        assert tenant_models(registry) == [Shelf, Book]  # type: ignore[arg-type]
        assert [tenant_column(Shelf), tenant_column(Book)] == ["tenant", "owner"]


def test_role_sql_operation_puts_the_real_names_in(library: Library, superuser: psycopg.Connection) -> None:
    made = "CREATE TABLE shelves (n int); GRANT SELECT ON shelves TO {app}, {operator}"
    library.migrate(RunRoleSQL(made, "DROP TABLE shelves"))
    assert stands(superuser)["grants"] == ["shelves auth_app SELECT", "shelves auth_operator SELECT"]


def test_unlogged_model_is_unlogged(library: Library, superuser: psycopg.Connection) -> None:
    library.migrate(CreateUnloggedModel("Shelf", SHELF.fields, {"db_table": "shelves"}))
    query = b"SELECT relpersistence FROM pg_class WHERE relname = 'shelves'"
    assert superuser.execute(query).fetchone() == ("u",)
    library.migrate(migrations.CreateModel("Book", SHELF.fields, {"db_table": "books"}))
    assert superuser.execute(query.replace(b"shelves", b"books")).fetchone() == ("p",)
