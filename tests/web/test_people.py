import pytest
from sqlalchemy import select

from crlhf.errors import InputError
from crlhf.web import people, tables
from crlhf.web.audit import events
from tests.web.conftest import fill, newcomer

DAY = 86400.0


def invited(database, now=0.0):
    with database.write() as connection:
        return people.invite(connection, 1, "", now, "test")[0]


def joined(database, token, now=1.0):
    with database.write() as connection:
        return people.join(connection, token, now)


def whose(database, session, now):
    with database.read() as connection:
        row = people.annotator_of(connection, session, now)
        return row and row["annotator_id"]


def test_a_link_lets_one_person_in_once(database):
    made = invited(database)
    session = joined(database, made.token)
    assert whose(database, session, 2.0) == made.annotator_id
    assert joined(database, made.token) is None


def test_the_same_browser_may_join_again_until_it_leaves(database):
    made, other = invited(database), invited(database)
    with database.write() as connection:
        session = people.join(connection, made.token, 1.0, "browser")
        assert people.join(connection, made.token, 2.0, "browser") == session
        assert people.join(connection, made.token, 2.0, "another") is None
        assert people.join(connection, made.token, 2.0) is None
        assert people.is_open_invitation(connection, made.token, 2.0, "browser")
        assert not people.is_open_invitation(connection, made.token, 2.0, "another")
        assert people.join(connection, other.token, 2.0, "browser") != session
    assert whose(database, session, 3.0) == made.annotator_id
    with database.write() as connection:
        people.end_sessions(connection, "annotator", made.annotator_id)
        assert people.join(connection, made.token, 4.0, "browser") is None


def test_looking_at_a_link_uses_nothing_up(database):
    made = invited(database)
    with database.read() as connection:
        assert people.is_open_invitation(connection, made.token, 1.0)
    assert joined(database, made.token)


def test_links_and_sessions_expire(database):
    made = invited(database)
    assert joined(database, made.token, 14 * DAY + 1) is None
    session = joined(database, made.token, 14 * DAY - 1)
    assert whose(database, session, 43 * DAY) == made.annotator_id
    assert whose(database, session, 45 * DAY) is None


def test_tokens_and_keys_are_kept_hashed_only(database):
    made = invited(database)
    session = joined(database, made.token)
    with database.write() as connection:
        key = people.add_operator(connection, "ada", 0.0, "test")
    with database.read() as connection:
        kept = [
            str(value)
            for table in tables.metadata.sorted_tables
            for row in connection.execute(select(table))
            for value in row
        ]
    assert people.token_sha256(session) in kept
    for secret in (made.token, session, key):
        assert not any(secret in value for value in kept)


def test_revoking_shuts_out_at_once(database):
    fill(database)
    made = invited(database)
    session = joined(database, made.token)
    with database.write() as connection:
        people.revoke(connection, made.annotator_id, 2.0, "test")
    assert whose(database, session, 2.0) is None
    with pytest.raises(InputError, match="revoked"), database.write() as connection:
        people.invite_again(connection, made.annotator_id, 3.0, "test")


def test_a_new_link_for_the_same_person_ends_the_old_session(database):
    made = invited(database)
    session = joined(database, made.token)
    with database.write() as connection:
        again = people.invite_again(connection, made.annotator_id, 2.0, "test")
    assert whose(database, session, 3.0) is None
    assert whose(database, joined(database, again.token, 3.0), 4.0) == made.annotator_id


def test_an_operator_signs_in_with_the_newest_key_only(database):
    with database.write() as connection:
        old = people.add_operator(connection, "ada", 0.0, "test")
        new = people.add_operator(connection, "ada", 1.0, "test")
    with database.write() as connection:
        assert people.sign_in(connection, "ada", old, 2.0) is None
        assert people.sign_in(connection, "eve", new, 2.0) is None
        session = people.sign_in(connection, "ada", new, 2.0)
    with database.read() as connection:
        assert people.operator_of(connection, session, 3.0) == "ada"
        assert people.operator_of(connection, session, 3.0 + 12 * 3600) is None
        assert people.annotator_of(connection, session, 3.0) is None
        actions = [event["action"] for event in events(connection)]
    assert actions == ["sign-in", "sign-in refused", "sign-in refused", "operator", "operator"]


def test_an_annotators_session_is_no_operators(database):
    session = joined(database, invited(database).token)
    with database.read() as connection:
        assert people.operator_of(connection, session, 2.0) is None


def test_a_sitting_begins_anew_after_half_an_hour_away(database):
    me = newcomer(database)
    starts = []
    for now in (0.0, 1700.0, 3400.0, 5300.0):
        with database.write() as connection:
            row = connection.execute(select(tables.annotators)).mappings().one()
            assert row["annotator_id"] == me
            starts.append(people.touch(connection, row, now))
    assert starts == [0.0, 0.0, 0.0, 5300.0]


def test_a_clock_that_is_set_back_begins_a_new_sitting(lite):
    newcomer(lite)
    starts = []
    for now in (5000.0, 5100.0, 1000.0, 1100.0):
        with lite.write() as connection:
            starts.append(people.touch(connection, connection.execute(select(tables.annotators)).mappings().one(), now))
    assert starts == [5000.0, 5000.0, 1000.0, 1000.0]


def test_hashes_of_links_and_sessions_are_not_kept_long_after_their_end(database):
    unused, used = invited(database), invited(database)
    joined(database, used.token)

    def n_kept(now):
        with database.write() as connection:
            people.drop_expired(connection, now)
            tables_with_hashes = (tables.invitations, tables.sessions)
            return [len(connection.execute(select(table)).all()) for table in tables_with_hashes]

    assert n_kept(14.5 * DAY) == [2, 1]
    assert n_kept(15.5 * DAY) == [0, 1]
    assert n_kept(31.5 * DAY) == [0, 0]
    with database.write() as connection:  # and people stay, and can be let in again
        again = people.invite_again(connection, unused.annotator_id, 40 * DAY, "test")
    assert joined(database, again.token, 41 * DAY)
