"""Constraints of tenant tables: migrations apply and reverse them, and renames keep them."""

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


def name_of(constraint: Any) -> str:
    return f"{type(constraint).__name__} {constraint.name}"


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_constraint_is_deconstructible(example: Any) -> None:
    path, args, kwargs = example.deconstruct()
    copy = type(example)(*args, **kwargs)
    assert path == f"tenancy.constraints.{type(example).__name__}"
    assert copy == example == example.clone()
    assert hash(copy) == hash(example)
    text, imports = MigrationWriter.serialize(example)
    scope: dict[str, Any] = {}
    exec("\n".join(imports), scope)
    assert eval(text, scope) == example


@pytest.mark.parametrize(("example", "other"), list(zip(EXAMPLES, OTHERS, strict=True)), ids=name_of)
def test_constraint_with_other_arguments_is_not_equal(example: Any, other: Any) -> None:
    assert example != other
    assert example != "not a constraint"


def test_policy_compares_only_with_the_current_tenant() -> None:
    assert CURRENT_TENANT == "(SELECT NULLIF(current_setting('app.current_creator_id', true), '')::uuid)"


# --- an app with two tables, migrated step by step --------------------------------------------


class Library:
    """An app that the tests migrate as the owner."""

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

    def reverse(self, count: int | None = None) -> None:
        for _ in range(len(self.steps) if count is None else count):
            operation, before, after = self.steps.pop()
            with self.connection.schema_editor() as editor:
                operation.database_backwards("library", editor, after, before)
            self.state = before


def create(name: str, table: str, fields: list[Any], constraints: list[Any]) -> migrations.CreateModel:
    key = [("id", models.UUIDField(primary_key=True)), ("owner", models.UUIDField())]
    return migrations.CreateModel(name, [*key, *fields], {"db_table": table, "constraints": constraints})


def constraints_of(table: str) -> list[Any]:
    key = models.UniqueConstraint(fields=["owner", "id"], name=f"{table}_tenant_key")
    return [
        key,
        *tenant_constraints(
            table, field="owner", app=["SELECT", "INSERT", "UPDATE (title)"], operator=["SELECT"]
        ),
    ]


TITLE = ("title", models.TextField())
SHELF = create("Shelf", "shelves", [TITLE], constraints_of("shelves"))
VOLUME = create("Volume", "volumes", [TITLE, ("shelf", models.UUIDField())], constraints_of("volumes"))
REFERENCE = migrations.AddConstraint(
    "volume",
    CompositeForeignKey(
        name="volumes_shelf", fields=["owner", "shelf"], to="library.Shelf", to_fields=["owner", "id"]
    ),
)


@pytest.fixture
def library(transactional_db: None) -> Iterator[Library]:
    library = Library(connections["owner"])
    yield library
    library.reverse()


def schema_of(superuser: psycopg.Connection) -> dict[str, list[str]]:
    """RLS, policies, foreign keys and grants of the app's tables."""
    queries = {
        "rls": "SELECT relname || CASE WHEN relrowsecurity AND relforcerowsecurity THEN '' ELSE ' incomplete' END "
               "FROM pg_class WHERE relname IN ('shelves', 'volumes', 'tomes') "
               "AND (relrowsecurity OR relforcerowsecurity)",
        "policies": "SELECT tablename || ' ' || policyname || ' ' || qual FROM pg_policies "
                    "WHERE tablename IN ('shelves', 'volumes', 'tomes') AND qual <> 'true'",
        "references": "SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint "
                      "WHERE contype = 'f' AND conrelid::regclass::text IN ('shelves', 'volumes', 'tomes')",
        "grants": "SELECT relname || ' ' || grantee::regrole || ' ' || privilege_type FROM pg_class, "
                  "aclexplode(relacl) WHERE relname IN ('shelves', 'volumes', 'tomes') AND grantee <> relowner "
                  "UNION SELECT attrelid::regclass || ' ' || grantee::regrole || ' ' || privilege_type || ' ' || attname "
                  "FROM pg_attribute, aclexplode(attacl) WHERE attrelid::regclass::text IN ('shelves', 'volumes', 'tomes')",
    }  # fmt: skip
    return {
        key: sorted(name for (name,) in superuser.execute(query.encode())) for key, query in queries.items()
    }


EMPTY: dict[str, list[str]] = {"rls": [], "policies": [], "references": [], "grants": []}
TENANT = "({} = ( SELECT (NULLIF(current_setting('app.current_creator_id'::text, true), ''::text))::uuid AS \"nullif\"))"


def test_constraints_are_created_and_dropped_with_their_tables(
    library: Library, superuser: psycopg.Connection
) -> None:
    library.migrate(SHELF, VOLUME, REFERENCE)
    assert schema_of(superuser) == {
        "rls": ["shelves", "volumes"],
        "policies": [f"{table} {table}_tenant {TENANT.format('owner')}" for table in ("shelves", "volumes")],
        "references": [
            "volumes_shelf FOREIGN KEY (owner, shelf) REFERENCES shelves(owner, id) ON DELETE CASCADE"
        ],
        "grants": [
            f"{table} auth_{grant}" for table in ("shelves", "volumes")
            for grant in ("app INSERT", "app SELECT", "app UPDATE title", "operator SELECT")
        ],
    }  # fmt: skip
    library.reverse(1)
    assert schema_of(superuser)["references"] == []
    library.reverse()
    assert schema_of(superuser) == EMPTY


def test_each_constraint_can_be_removed_and_restored(library: Library, superuser: psycopg.Connection) -> None:
    library.migrate(SHELF, VOLUME, REFERENCE)
    before = schema_of(superuser)
    constraints = [*constraints_of("volumes")[1:], REFERENCE.constraint]
    for constraint in constraints:
        library.migrate(migrations.RemoveConstraint("volume", constraint.name))
        assert schema_of(superuser) != before or constraint.name == "volumes_operator", constraint
    without = schema_of(superuser)
    assert not any("volumes" in line for lines in without.values() for line in lines)
    library.reverse(len(constraints))
    assert schema_of(superuser) == before


def test_constraints_follow_a_renamed_field_and_table(
    library: Library, superuser: psycopg.Connection
) -> None:
    library.migrate(SHELF, VOLUME, REFERENCE)
    before = schema_of(superuser)
    library.migrate(
        migrations.RenameField("volume", "owner", "creator_id"),
        migrations.RenameModel("Volume", "Tome"),
        migrations.AlterModelTable("tome", "tomes"),
    )
    after = schema_of(superuser)
    assert f"tomes volumes_tenant {TENANT.format('creator_id')}" in after["policies"]
    assert "tomes" in after["rls"]
    assert "tomes auth_app UPDATE title" in after["grants"]
    assert "FOREIGN KEY (creator_id, shelf) REFERENCES shelves(owner, id)" in after["references"][0]
    library.reverse(3)
    assert schema_of(superuser) == before
    library.reverse()
    assert schema_of(superuser) == EMPTY


def test_policy_is_replaced_when_its_field_is_renamed(
    library: Library, superuser: psycopg.Connection
) -> None:
    """`makemigrations` removes the constraint, renames the field and adds the constraint again."""
    library.migrate(SHELF)
    before = schema_of(superuser)
    library.migrate(
        migrations.RemoveConstraint("shelf", "shelves_tenant"),
        migrations.RenameField("shelf", "owner", "creator_id"),
        migrations.AddConstraint("shelf", TenantPolicy(name="shelves_tenant", field="creator_id")),
    )
    assert schema_of(superuser)["policies"] == [f"shelves shelves_tenant {TENANT.format('creator_id')}"]
    library.reverse(3)
    assert schema_of(superuser) == before


def changes(old: ProjectState, new: ProjectState) -> list[Any]:
    detector = MigrationAutodetector(old, new, NonInteractiveMigrationQuestioner(specified_apps={"library"}))
    changed = detector._detect_changes()
    return [operation for migration in changed.get("library", []) for operation in migration.operations]


def test_makemigrations_detects_changed_constraints_only() -> None:
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


def test_referenced_tenant_models_come_first() -> None:
    with isolate_apps("tenancy") as registry:

        class Volume(models.Model):
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
                        name="s", fields=["owner", "id"], to="tenancy.Volume", to_fields=["owner", "id"]
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

        assert tenant_models(registry) == [Shelf, Volume]  # type: ignore[arg-type]
        assert [tenant_column(Shelf), tenant_column(Volume)] == ["tenant", "owner"]


def test_role_sql_operation_fills_in_the_role_names(library: Library, superuser: psycopg.Connection) -> None:
    create = "CREATE TABLE shelves (n int); GRANT SELECT ON shelves TO {app}, {operator}"
    library.migrate(RunRoleSQL(create, "DROP TABLE shelves"))
    assert schema_of(superuser)["grants"] == ["shelves auth_app SELECT", "shelves auth_operator SELECT"]


def test_unlogged_model_is_unlogged(library: Library, superuser: psycopg.Connection) -> None:
    library.migrate(CreateUnloggedModel("Shelf", SHELF.fields, {"db_table": "shelves"}))
    query = b"SELECT relpersistence FROM pg_class WHERE relname = 'shelves'"
    assert superuser.execute(query).fetchone() == ("u",)
    library.migrate(migrations.CreateModel("Volume", SHELF.fields, {"db_table": "volumes"}))
    assert superuser.execute(query.replace(b"shelves", b"volumes")).fetchone() == ("p",)
