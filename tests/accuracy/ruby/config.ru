# A service under Puma; see ../README.md. Calls that are made at the same time have a new thread each.
require "net/http/persistent"
require "uri"

THINK = ENV.fetch("THINK", "0").to_i
RETRIES = ENV.key?("RETRIES")
GROUPS = ENV.fetch("CALLS").split(";").map { |group| group.split(",").map { |call| call.split("=") } }
HTTP = Net::HTTP::Persistent.new(pool_size: ENV.fetch("POOL", "256").to_i)
HTTP.idle_timeout = 60

# Seconds; 0 for every second request.
def delay(id, position)
  [0, (id * 7919 + position * 104_729) % 41 - 20].max / 1000.0
end

def call(name, address, id, position)
  get = ->(at) { HTTP.request(URI("http://#{address}/#{name}/#{id}/#{at}")) }
  response = get.call(position)
  response = get.call(position + 5) if response.code == "503"
  raise "#{name} answered with #{response.code}" unless response.code == "200"

  response.body.to_i
end

def make(group, id, position)
  return call(*group[0], id, position) if group.size == 1

  threads = group.each_with_index.map do |(name, address), index|
    Thread.new { call(name, address, id, position + index) }
  end
  threads.sum(&:value)
end

def answer(status, number)
  body = number.to_s
  [status, { "content-type" => "text/plain", "content-length" => body.bytesize.to_s }, [body]]
end

run(lambda do |env|
  id, position = env["PATH_INFO"].split("/").drop(2).map(&:to_i)
  sleep(delay(id, position))
  next answer(503, 0) if RETRIES && position > 1 && position % 10 < 5 && ((id + position) % 8).zero?

  served = 1
  following = position * 10
  GROUPS.each do |group|
    sleep(delay(id, following) * THINK / 20.0)
    served += make(group, id, following)
    following += group.size
  end
  answer(200, served)
end)
