-- Heartbeats and session records by their fields. A line that is no JSON object has nulls.
--
-- Columns:
--   dt varchar: Day of the sending, UTC, yyyy-MM-dd
--   hour varchar: Hour of the sending, UTC, 00 to 23
--   kind varchar: heartbeat or session
--   at varchar: When it was said, ISO 8601 UTC
--   session varchar: The streamer process that says it
--   watermark varchar: heartbeat: when the oldest line was received that Firehose has not acknowledged
--   connected boolean: heartbeat: whether the stream of X is connected
--   last_byte_at varchar: When X last sent anything, keep-alives included
--   last_tweet_at varchar: heartbeat: when X last sent a tweet
--   received bigint: heartbeat: lines received in this session
--   spooled bigint: heartbeat: lines put into the durable queue in this session
--   delivered bigint: heartbeat: lines acknowledged by Firehose in this session
--   pending bigint: heartbeat: lines waiting in the durable queue
--   event varchar: session: start, connect, disconnect, rules, sample, salvage, check or stop
--   reason varchar: session: why it was disconnected, or what changed
--   rule_hash varchar: Digest of the rules then in force
--   sample integer: Percentage of the matching posts then streamed
--   object varchar: The address of the object that holds the line
SELECT
  dt,
  hour,
  json_extract_scalar(line, '$$.kind') AS kind,
  json_extract_scalar(line, '$$.at') AS at,
  json_extract_scalar(line, '$$.session') AS session,
  json_extract_scalar(line, '$$.watermark') AS watermark,
  try_cast(json_extract_scalar(line, '$$.connected') AS boolean) AS connected,
  json_extract_scalar(line, '$$.last_byte_at') AS last_byte_at,
  json_extract_scalar(line, '$$.last_tweet_at') AS last_tweet_at,
  try_cast(json_extract_scalar(line, '$$.received') AS bigint) AS received,
  try_cast(json_extract_scalar(line, '$$.spooled') AS bigint) AS spooled,
  try_cast(json_extract_scalar(line, '$$.delivered') AS bigint) AS delivered,
  try_cast(json_extract_scalar(line, '$$.pending') AS bigint) AS pending,
  json_extract_scalar(line, '$$.event') AS event,
  json_extract_scalar(line, '$$.reason') AS reason,
  json_extract_scalar(line, '$$.rule_hash') AS rule_hash,
  try_cast(json_extract_scalar(line, '$$.sample') AS integer) AS sample,
  "$$path" AS object
FROM heartbeats
WHERE trim(line) <> ''
