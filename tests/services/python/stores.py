"""Databases and services, by their own clients: PROTOCOL HOST PORT. Fails unless what was written can be read."""

import sys


def mongodb(host, port):
    import pymongo

    client = pymongo.MongoClient(host, port, serverSelectionTimeoutMS=20_000)
    users = client.shop.users
    users.insert_many([{"_id": n, "name": "secret"} for n in range(5)])
    assert len(list(users.find({"_id": {"$lt": 3}}))) == 3
    try:
        users.insert_one({"_id": 1})
    except pymongo.errors.DuplicateKeyError:
        pass
    client.shop.command("ping")
    users.drop()
    client.close()


def cassandra(host, port):
    from cassandra import InvalidRequest
    from cassandra.cluster import Cluster

    with Cluster([host], port=port, protocol_version=5, schema_event_refresh_window=-1, connect_timeout=20) as cluster:
        session = cluster.connect()
        session.default_timeout = 30
        session.execute("DROP KEYSPACE IF EXISTS shop")
        replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
        session.execute(f"CREATE KEYSPACE shop WITH replication = {replication}")
        session.set_keyspace("shop")
        session.execute("CREATE TABLE users (id int PRIMARY KEY, name text)")
        insert = session.prepare("INSERT INTO users (id, name) VALUES (?, 'secret')")
        for n in range(3):
            session.execute(insert, [n])
        assert len(list(session.execute("SELECT name FROM users WHERE id IN (1, 2)"))) == 2
        try:
            session.execute("SELECT name FROM nobody")
        except InvalidRequest:
            pass


def clickhouse(host, port):
    from clickhouse_driver import Client
    from clickhouse_driver.errors import ServerException

    client = Client(host, port)
    client.execute("DROP TABLE IF EXISTS users")
    client.execute("CREATE TABLE users (id UInt32, name String) ENGINE = Memory")
    client.execute("INSERT INTO users (id, name) VALUES", [(n, "secret") for n in range(5)])
    assert len(client.execute("SELECT name FROM users WHERE name = 'secret' LIMIT 3")) == 3
    try:
        client.execute("SELECT name FROM nobody")
    except ServerException:
        pass
    client.disconnect()


def pymssql(host, port):
    """FreeTDS: everything is a batch but a procedure, and so are transactions."""
    import pymssql

    given = {"user": "app", "password": "secret", "database": "shop", "tds_version": "7.4", "encryption": "off"}
    with pymssql.connect(server=host, port=port, **given) as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE users (id int, name nvarchar(100))")
        cursor.execute("INSERT INTO users (name) VALUES (%s)", ("secret",))
        connection.commit()
        cursor.execute("SELECT TOP (3) id, name FROM users WHERE name = %s", ("secret",))
        assert len(cursor.fetchall()) == 3
        cursor.callproc("dbo.place_order", (7,))
        cursor.nextset()
        try:
            cursor.execute("SELECT name FROM nobody")
        except pymssql.ProgrammingError as refused:
            assert refused.args[0] == 208
        else:
            raise AssertionError("no table is called that")


def pytds(host, port):
    """python-tds: with arguments, `sp_executesql` runs a text, and packets of their own make transactions."""
    import pytds

    given = {"user": "app", "password": "secret", "database": "shop", "autocommit": True}
    with pytds.connect(host, port=port, **given) as connection:
        cursor = connection.cursor()
        cursor.execute("INSERT INTO users (name) VALUES (%s)", ("secret",))
        cursor.execute("SELECT TOP (3) id, name FROM users WHERE name = %s", ("secret",))
        assert len(cursor.fetchall()) == 3
        cursor.callproc("dbo.place_order", (7,))
        try:
            cursor.execute("SELECT name FROM nobody")
        except pytds.Error as refused:
            assert refused.number == 208
        else:
            raise AssertionError("no table is called that")


def aws(host, port):
    import boto3

    def service(name):
        return boto3.client(
            name,
            endpoint_url=f"http://{host}:{port}",
            region_name="eu-west-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
        )

    table = service("dynamodb")
    table.create_table(
        TableName="users",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    table.put_item(TableName="users", Item={"id": {"S": "1"}, "name": {"S": "secret"}})
    assert "Item" in table.get_item(TableName="users", Key={"id": {"S": "1"}})
    table.delete_table(TableName="users")
    bucket = service("s3")
    bucket.create_bucket(Bucket="photos", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    bucket.put_object(Bucket="photos", Key="cat.jpg", Body=b"secret")
    assert bucket.get_object(Bucket="photos", Key="cat.jpg")["Body"].read() == b"secret"
    bucket.delete_object(Bucket="photos", Key="cat.jpg")
    bucket.delete_bucket(Bucket="photos")
    queues = service("sqs")
    queue = queues.create_queue(QueueName="orders")["QueueUrl"]
    queues.send_message(QueueUrl=queue, MessageBody="secret")
    assert queues.receive_message(QueueUrl=queue)["Messages"][0]["Body"] == "secret"
    queues.delete_queue(QueueUrl=queue)


PROTOCOL, HOST, PORT = sys.argv[1:]
STORES = [mongodb, cassandra, clickhouse, pymssql, pytds, aws]
next(store for store in STORES if store.__name__ == PROTOCOL)(HOST, int(PORT))
