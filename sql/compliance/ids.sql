-- One shard of the ids of all tweets or users in the lake: a hash decides which, so that shards are of one size.
SELECT DISTINCT id
FROM (
  SELECT CASE ${kind} WHEN 'users' THEN author ELSE tweet END AS id
  FROM (
    ${fragments/collected}
  )
)
WHERE regexp_like(id, '^[1-9][0-9]{0,18}$$')
  AND bitwise_and(from_big_endian_64(xxhash64(to_utf8(id))), 1048575) % ${shards} = ${shard}
