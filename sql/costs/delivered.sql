-- What Firehose has delivered of one day: its objects have the delivery stream's name, those of search and of
-- transform have not. The lines were records, or parts of records of several lines.
WITH lines AS (
  SELECT "$$path" AS object, line
  FROM raw
  WHERE dt = ${day}
  UNION ALL
  SELECT "$$path" AS object, line
  FROM heartbeats
  WHERE dt = ${day}
  UNION ALL
  SELECT "$$path" AS object, line
  FROM quarantine
  WHERE dt = ${day}
)
SELECT
  count(DISTINCT object) AS objects,
  coalesce(sum(length(to_utf8(line)) + 1), 0) AS bytes,
  CAST(
    coalesce(sum(ceil((length(to_utf8(line)) + 1) / CAST(${record_bytes} AS double)) * ${record_bytes}), 0) AS bigint
  ) AS billed_bytes
FROM lines
WHERE regexp_like(object, concat('/hour=[0-9]{2}/', ${stream}, '-'))
