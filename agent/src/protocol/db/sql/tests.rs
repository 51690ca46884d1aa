//! The examples of the semantic conventions, and what people write.

use proptest::prelude::*;

use super::*;

fn pg(sql: &str) -> Query {
    read(sql.as_bytes(), Dialect::Postgres, true)
}

#[test]
fn summaries_of_the_semantic_conventions() {
    for (sql, summary) in [
        ("SELECT *\nFROM   wuser_table\nWHERE  username = ?", "SELECT wuser_table"),
        (
            "INSERT INTO shipping_details\n (order_id,\n address)\nSELECT order_id,\n address\nFROM   orders\nWHERE  order_id = ?",
            "INSERT shipping_details SELECT orders",
        ),
        ("SELECT *\nFROM   songs,\n       artists\nWHERE  songs.artist_id == artists.id", "SELECT songs artists"),
        (
            "SELECT order_date\nFROM (SELECT *\n FROM orders o\n JOIN customers c\n ON o.customer_id = c.customer_id)",
            "SELECT SELECT orders customers",
        ),
        ("SELECT *\nFROM   \"song list\",\n       'artists'", "SELECT \"song list\" 'artists'"),
        ("{call some_stored_procedure}", "call some_stored_procedure"),
    ] {
        assert_eq!(pg(sql).summary, summary, "{sql}");
    }
}

#[test]
fn what_sql_server_and_clickhouse_write() {
    let tsql = |sql: &str| read(sql.as_bytes(), Dialect::TSql, true);
    for (sql, summary, text) in [
        (
            "SELECT TOP 5 * FROM [dbo].[Order ]] Lines]",
            "SELECT [dbo].[Order ]] Lines]",
            "SELECT TOP ? * FROM [dbo].[Order ]] Lines]",
        ),
        ("INSERT INTO #tmp SELECT N'x', $1.50 FROM a", "INSERT #tmp SELECT a", "INSERT INTO #tmp SELECT ?, ? FROM a"),
        ("SELECT /* a /* b */ 'c' */ @p FROM t WHERE x = 'it''s'", "SELECT t", "SELECT @p FROM t WHERE x = ?"),
    ] {
        let query = tsql(sql);
        assert_eq!((&*query.summary, &*query.text), (summary, text));
    }
    let clickhouse = |sql: &str| read(sql.as_bytes(), Dialect::ClickHouse, true);
    for (sql, summary, text) in [
        (
            "SELECT a FROM `my \\` t` WHERE b = 'it\\'s' # secret",
            "SELECT `my \\` t`",
            "SELECT a FROM `my \\` t` WHERE b = ?",
        ),
        ("INSERT INTO t FORMAT Values", "INSERT t", "INSERT INTO t FORMAT Values"),
        ("SELECT $x$ 'secret $x$ FROM t", "SELECT t", "SELECT ? FROM t"),
    ] {
        let query = clickhouse(sql);
        assert_eq!((&*query.summary, &*query.text), (summary, text));
    }
}

#[test]
fn summaries() {
    for (sql, summary) in [
        ("select 1", "select"),
        (
            "SELECT a.b, c FROM public.users u, \"Order Lines\" AS l WHERE u.id IN (SELECT id FROM vip)",
            "SELECT public.users \"Order Lines\" SELECT vip",
        ),
        ("UPDATE users SET name = 'x' FROM other WHERE true", "UPDATE users other"),
        ("UPDATE ONLY users SET name = 'x'", "UPDATE users"),
        ("DELETE FROM users USING x WHERE id = 3", "DELETE users"),
        ("INSERT INTO t (a, b) VALUES (1, 2) ON CONFLICT (a) DO UPDATE SET b = 3", "INSERT t"),
        ("SELECT * FROM t FOR UPDATE", "SELECT t"),
        ("SELECT extract(year FROM created) FROM t", "SELECT t"),
        ("SELECT a IS DISTINCT FROM b FROM t", "SELECT t"),
        (
            "SELECT substring(x from 1 for 2), (select max(y) from u) FROM t LEFT JOIN v USING (id)",
            "SELECT select u t v",
        ),
        (
            "WITH x AS (SELECT * FROM orders), y AS (DELETE FROM carts RETURNING *) SELECT * FROM x, y, z",
            "SELECT orders DELETE carts SELECT z",
        ),
        ("SELECT * FROM generate_series(1, 3)", "SELECT generate_series"),
        ("CREATE TABLE IF NOT EXISTS foo (id int)", "CREATE TABLE foo"),
        ("create unique index concurrently i on t (a)", "create index i"),
        ("DROP TABLE IF EXISTS a", "DROP TABLE a"),
        ("TRUNCATE users", "TRUNCATE users"),
        ("TRUNCATE TABLE users", "TRUNCATE TABLE users"),
        ("BEGIN", "BEGIN"),
        ("BEGIN; INSERT INTO a VALUES (1); COMMIT", "BEGIN INSERT a COMMIT"),
        ("EXPLAIN ANALYZE UPDATE t SET a = 1", "EXPLAIN UPDATE t"),
        ("(SELECT a FROM b) UNION (SELECT c FROM d)", "SELECT b SELECT d"),
        ("SELECT * FROM (a JOIN b ON true)", "SELECT a b"),
        ("COPY t (a, b) FROM STDIN", "COPY t"),
        ("SHOW search_path", "SHOW"),
        ("SET x = 'secret'", "SET"),
        ("EXECUTE doit(1, 2)", "EXECUTE doit"),
        ("FETCH FORWARD 100 FROM \"cursor_123\"", "FETCH"),
        ("-- note\n/* a /* nested */ b */ SELECT 1 FROM t", "SELECT t"),
        ("", ""),
        (";;", ""),
    ] {
        assert_eq!(pg(sql).summary, summary, "{sql}");
    }
    let mysql = |sql: &str| read(sql.as_bytes(), Dialect::MySql, true).summary;
    assert_eq!(mysql("INSERT IGNORE INTO `my db`.`t` SET a=\"b\""), "INSERT `my db`.`t`");
    assert_eq!(mysql("REPLACE INTO t VALUES (1) # FROM x"), "REPLACE t");
    assert_eq!(mysql("SELECT REPLACE(a, 'b', 'c') FROM `t`"), "SELECT `t`");
}

#[test]
fn operation_and_collection_only_where_there_is_one() {
    let one = pg("SELECT * FROM users WHERE id = $1");
    assert_eq!((one.operation.as_deref(), one.collection.as_deref()), (Some("SELECT"), Some("users")));
    let two = pg("SELECT * FROM users, orders");
    assert_eq!((two.operation.as_deref(), two.collection.as_deref()), (Some("SELECT"), None));
    let nested = pg("INSERT INTO a SELECT * FROM b");
    assert_eq!((nested.operation, nested.collection), (None, None));
    let made = pg("CREATE TABLE x (a int)");
    assert_eq!((made.operation.as_deref(), made.collection.as_deref()), (Some("CREATE TABLE"), Some("x")));
    let called = pg("SELECT * FROM f(1)");
    assert_eq!((called.operation.as_deref(), called.collection), (Some("SELECT"), None));
    let cut = read(b"SELECT * FROM users WHERE a = 'b", Dialect::Postgres, false);
    assert_eq!((cut.operation, cut.collection, &*cut.summary), (None, None, "SELECT users"));
    let rest = pg("* FROM t JOIN u O(SELECT * FROM t");
    assert_eq!((rest.operation, &*rest.summary), (None, "u SELECT t"));
}

#[test]
fn texts() {
    for (sql, text) in [
        (
            "SELECT * FROM t WHERE a = 'it''s' AND b=-12.5e-3 AND c = TRUE",
            "SELECT * FROM t WHERE a = ? AND b=-? AND c = ?",
        ),
        ("SELECT 1,  2\n\t, 0x1F", "SELECT ?, ? , ?"),
        (
            "SELECT * FROM t WHERE id IN (1, 2, 3) AND x in ( 'a' , 'b' )",
            "SELECT * FROM t WHERE id IN (?) AND x in (?)",
        ),
        (
            "SELECT * FROM t WHERE id IN ($1,$2) OR id IN (SELECT 1)",
            "SELECT * FROM t WHERE id IN (?) OR id IN (SELECT ?)",
        ),
        ("SELECT $1::text, $tag$ 'x' $$ $tag$, E'a\\'b', x'ff', U&'\\0041'", "SELECT $1::text, ?, ?, ?, ?"),
        (
            "SELECT a$b, t1.c2, \"x 1\" FROM t1 -- secret 5\nWHERE /* 'y' */ z",
            "SELECT a$b, t1.c2, \"x 1\" FROM t1 WHERE z",
        ),
        ("SELECT date '2020-01-01', a[1], :name, @v", "SELECT date ?, a[?], :name, @v"),
        ("SELECT größe FROM straße", "SELECT größe FROM straße"),
    ] {
        assert_eq!(pg(sql).text, text, "{sql}");
    }
    let mysql = |sql: &str| read(sql.as_bytes(), Dialect::MySql, true).text;
    assert_eq!(mysql("SELECT `a``b`, \"x\\\"y\", 'it\\'s' # secret\n, 5"), "SELECT `a``b`, ?, ? , ?");
}

#[test]
fn texts_that_are_cut_show_no_literal() {
    let sql = "SELECT name FROM users WHERE token = 'verysecretvalue' AND d = $q$anothersecret$q$ AND n = 123456789";
    for end in 0..sql.len() {
        let query = read(&sql.as_bytes()[..end], Dialect::Postgres, false);
        assert!(!query.text.contains("secret") && !query.text.contains('1'), "{}", query.text);
        assert!(query.text.ends_with("..."));
        assert!("SELECT users".starts_with(query.summary.as_str()), "{}", query.summary);
    }
}

#[test]
fn lengths_are_bounded() {
    let many: Vec<_> = (0..1000).map(|n| format!("table_number_{n}")).collect();
    let query = pg(&format!("SELECT * FROM {}", many.join(", ")));
    assert!(query.summary.len() <= 255 && query.summary.ends_with(|c: char| c.is_ascii_digit()));
    assert!(query.summary.split(' ').skip(1).all(|name| many.iter().any(|other| other == name)));
    assert!(query.text.len() <= MAX_TEXT + 3 && query.text.ends_with("..."));
}

#[test]
fn a_context_in_a_comment() {
    let query = pg("SELECT 1 /*traceparent='00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',x='y'*/");
    assert_eq!(query.traceparent.as_deref(), Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    assert_eq!(query.text, "SELECT ?");
    assert_eq!(
        pg("SELECT 'traceparent=''00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'''").traceparent,
        None
    );
}

#[test]
fn what_cql_writes_without_quotes() {
    let cql = |text: &str| read(text.as_bytes(), Dialect::Cql, true);
    for (query, text, summary) in [
        (
            "SELECT a FROM ks.t WHERE id = 550e8400-e29b-41d4-a716-446655440000 AND b = deadbeef-e29b-41d4-a716-446655440000",
            "SELECT a FROM ks.t WHERE id = ? AND b = ?",
            "SELECT ks.t",
        ),
        ("INSERT INTO t (a) VALUES ($$it's$$) // who", "INSERT INTO t (a) VALUES (?)", "INSERT t"),
        (
            "UPDATE t USING TTL 9 SET a = P1Y2M, b = 1h30m, c = 0xcafe",
            "UPDATE t USING TTL ? SET a = ?, b = ?, c = ?",
            "UPDATE t",
        ),
        (
            "UPDATE t SET m = {'a': 1} WHERE p1 = 2 AND pt = PT5M",
            "UPDATE t SET m = {?: ?} WHERE p1 = ? AND pt = ?",
            "UPDATE t",
        ),
        (
            "CREATE KEYSPACE IF NOT EXISTS shop WITH x = 1",
            "CREATE KEYSPACE IF NOT EXISTS shop WITH x = ?",
            "CREATE KEYSPACE shop",
        ),
    ] {
        let read = cql(query);
        assert_eq!((read.text.as_str(), read.summary.as_str()), (text, summary));
    }
    // The beginning of one, where the text is cut.
    assert_eq!(
        read(b"SELECT a FROM t WHERE id = 550e8400-e29b-4", Dialect::Cql, false).text,
        "SELECT a FROM t WHERE id = ?..."
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(sql in prop::collection::vec(any::<u8>(), 0..300), whole in any::<bool>()) {
        for dialect in [Dialect::Postgres, Dialect::MySql, Dialect::Cql, Dialect::TSql, Dialect::ClickHouse] {
            let query = read(&sql, dialect, whole);
            prop_assert!(query.summary.len() <= 3 * 255 && query.text.len() <= 3 * MAX_TEXT + 3);
        }
    }

    #[test]
    fn literals_never_show(parts in prop::collection::vec(prop::sample::select(vec![
        "SELECT", "FROM", "IN", "(", ")", ",", "users", "'SECRET'", "$$SECRET$$", "E'\\'SECRET'", "-- SECRET\n", "/*SECRET*/", "=", "\"q\"", ";", "WITH", "AS", "$1", "JOIN",
    ]), 0..30), cut in 0..200_usize) {
        let sql = parts.join(" ");
        let end = cut.min(sql.len());
        let query = read(&sql.as_bytes()[..end], Dialect::Postgres, end == sql.len());
        prop_assert!(!query.text.contains("SECRET") || parts.contains(&"FROM") || parts.contains(&"JOIN"), "{}", query.text);
    }
}
