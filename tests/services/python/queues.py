"""Messages over a broker: PROTOCOL HOST PORT. Publishes, receives, acknowledges, and asks for an answer where the protocol has that; fails
unless everything arrives."""

import asyncio
import sys
import threading


def mqtt(host, port):
    import paho.mqtt.client as paho

    for version in (paho.MQTTv311, paho.MQTTv5):
        received = threading.Semaphore(0)
        subscribed = threading.Event()
        receiver = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=f"receiver{version}", protocol=version)
        receiver.on_message = lambda *_: received.release()
        receiver.on_subscribe = lambda *_: subscribed.set()
        receiver.connect(host, port)
        receiver.subscribe("shop/orders/+", qos=2)
        receiver.loop_start()
        assert subscribed.wait(10)
        sender = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=f"sender{version}", protocol=version)
        sender.connect(host, port)
        sender.loop_start()
        for qos in (0, 1, 2):
            sender.publish("shop/orders/7", b"secret", qos=qos).wait_for_publish(10)
            assert received.acquire(timeout=10)
        for client in (sender, receiver):
            client.disconnect()
            client.loop_stop()


async def nats(host, port):
    import nats as client

    connection = await client.connect(f"nats://{host}:{port}")

    async def answer(message):
        if message.reply:
            await message.respond(b"secret")

    await connection.subscribe("orders.*", cb=answer)
    await connection.publish("orders.new", b"secret")
    await connection.publish("orders.new", b"secret", headers={"id": "1"})
    assert (await connection.request("orders.ask", b"secret", timeout=10)).data == b"secret"
    await connection.drain()


def kafka(host, port):
    import kafka as client

    server = f"{host}:{port}"
    producer = client.KafkaProducer(bootstrap_servers=server, acks="all")
    for _ in range(3):
        producer.send("orders", b"secret").get(30)
    consumer = client.KafkaConsumer(
        "orders",
        bootstrap_servers=server,
        group_id="billing",
        auto_offset_reset="earliest",
        consumer_timeout_ms=20_000,
    )
    messages = [message.value for message, _ in zip(consumer, range(3))]
    assert messages == [b"secret"] * 3, messages
    consumer.commit()
    consumer.close()
    producer.close()


def amqp(host, port):
    import pika

    connection = pika.BlockingConnection(pika.ConnectionParameters(host, port))
    channel = connection.channel()
    channel.queue_declare("orders", exclusive=True)
    channel.confirm_delivery()
    channel.basic_publish("", "orders", b"secret")
    channel.basic_publish("", "orders", b"secret")
    method, _, body = channel.basic_get("orders")
    assert body == b"secret"
    channel.basic_ack(method.delivery_tag)
    for method, _, body in channel.consume("orders", inactivity_timeout=20):
        assert body == b"secret"
        channel.basic_ack(method.delivery_tag)
        break
    channel.cancel()
    connection.close()


PROTOCOL, HOST, PORT = sys.argv[1:]
if PROTOCOL == "nats":
    asyncio.run(nats(HOST, int(PORT)))
else:
    {"mqtt": mqtt, "kafka": kafka, "amqp": amqp}[PROTOCOL](HOST, int(PORT))
