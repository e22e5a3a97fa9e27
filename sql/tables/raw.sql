-- X's payloads as they came, with `ingest` added: one line a delivery, so an id may stand several times.
-- ${topics} is the topics' names joined by commas; partitions are projected, none is registered.
CREATE EXTERNAL TABLE IF NOT EXISTS `raw` (
  `data` struct<
    id: string,
    text: string,
    created_at: string,
    author_id: string,
    lang: string,
    geo: struct<place_id: string>,
    public_metrics: struct<retweet_count: bigint, reply_count: bigint, like_count: bigint, quote_count: bigint>
  > COMMENT 'The tweet; ids are text, as X sends them',
  `includes` struct<
    users: array<struct<id: string, location: string, public_metrics: struct<followers_count: bigint>>>,
    places: array<struct<id: string, full_name: string, country_code: string>>
  > COMMENT 'The author and the place that the tweet refers to',
  `matching_rules` array<struct<id: string, tag: string>> COMMENT 'The rules that the tweet matched; tag is the topic',
  `ingest` struct<received_at: string, session: string, rule_hash: string, sample: int, source: string>
    COMMENT 'When and how the line was received; source is stream or search, sample a percentage'
)
COMMENT 'Payloads of X by topic and hour of the tweet (UTC)'
PARTITIONED BY (
  `topic` string COMMENT 'The tag of the rule that matched first',
  `dt` string COMMENT 'Day of the tweet, UTC, yyyy-MM-dd',
  `hour` string COMMENT 'Hour of the tweet, UTC, 00 to 23'
)
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
WITH SERDEPROPERTIES ('ignore.malformed.json' = 'true')
STORED AS INPUTFORMAT 'org.apache.hadoop.mapred.TextInputFormat'
OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'
LOCATION ${location}
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.topic.type' = 'enum',
  'projection.topic.values' = ${topics},
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = ${days},
  'projection.hour.type' = 'integer',
  'projection.hour.range' = '0,23',
  'projection.hour.digits' = '2',
  'definition' = ${definition}
)
