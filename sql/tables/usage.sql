-- What was used of what costs money: one row a stage, service and item, one object a day and service.
CREATE EXTERNAL TABLE IF NOT EXISTS `usage` (
  `stage` string COMMENT 'What for: collect, recover, sentiment, translation, query, a DAG, show, or a layer of the lake',
  `service` string COMMENT 'The service of the price list',
  `item` string COMMENT 'The item of the price list',
  `unit` string COMMENT 'The unit of the quantity, as of the price',
  `quantity` double COMMENT 'How much was used',
  `basis` string COMMENT 'measured: counted; modeled: it follows from assumptions',
  `origin` string COMMENT 'How the quantity is known, or what is assumed',
  `usd` double COMMENT 'List price of one unit in US dollars, when the day was measured; null if the list has none',
  `price_date` string COMMENT 'The day of that price, yyyy-MM-dd',
  `confirmed` int COMMENT '1 if the price list says what confirms the price, else 0'
)
COMMENT 'What was used of what costs money, by day (UTC)'
PARTITIONED BY (
  `dt` string COMMENT 'Day, UTC, yyyy-MM-dd'
)
STORED AS PARQUET
LOCATION ${location}
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = ${days},
  'definition' = ${definition}
)
