"""Schemathesis over the page's own OpenAPI schema, as an annotator and as an operator: no failure of any check."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from crlhf.web.database import open_database
from crlhf.web.limits import LIMITS, Limit
from tests.web.served import HOST, Served

# Credentials are a cookie that the schema does not describe; test_access.py tries every route with every kind. Ids that
# fit the schema but were never given out are refused with 404, 409 or 422, as they should be.
LEFT_OUT = [ignored_auth, positive_data_acceptance]
ENDS_SESSIONS = ("/operator/sign-out", "/leave")


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_operation_keeps_to_its_schema_whatever_is_sent(tmp_path, mode):
    database = open_database(f"sqlite:///{tmp_path}/page.sqlite3")
    served = Served(database, limits=dict.fromkeys(LIMITS, Limit(1e9, 1e9)))
    served.app.openapi_url = "/openapi.json"
    served.app.setup()
    schema = schemathesis.openapi.from_asgi("/openapi.json", served.app)
    sessions = {"annotator": served.session()[0], "operator": served.operator_session()}
    statuses = {}
    for result in schema.get_all_operations():
        operation = result.ok()
        role = operation.definition.raw["x-access"]
        cookie = "" if operation.path in ENDS_SESSIONS else f"crlhf_{role}={sessions.get(role, '')}"
        seen = statuses.setdefault(f"{operation.method} {operation.path}", set())
        _ask(operation, mode, {"origin": HOST, "cookie": cookie}, seen)
    database.close()
    assert len(statuses) > 25
    reached = set.union(*statuses.values())
    assert {200, 303, 404, 422} <= reached if mode is GenerationMode.POSITIVE else 422 in reached
    assert max(reached) < 500


def _ask(operation, mode, headers, seen):
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=15,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case):
        answer = case.call(base_url=HOST, headers=headers, allow_redirects=False)
        seen.add(answer.status_code)
        case.validate_response(answer, excluded_checks=LEFT_OUT)

    try:
        ask()
    except BaseException as error:
        if mode is GenerationMode.NEGATIVE and type(error).__name__ in ("Unsatisfiable", "SkipTest"):
            return  # nothing that this operation takes can be wrong
        raise
