-- All of raw, also of topics that are not in the topics file any more: whatever the lake holds X is asked about.
-- It has no partitions, so a statement reads every object; the table raw reads some days of the present topics.
CREATE EXTERNAL TABLE IF NOT EXISTS `all_raw` (
  `line` string COMMENT 'As in raw'
)
COMMENT 'All payloads of X that the lake holds'
${fragments/text_lines}
LOCATION ${location}
TBLPROPERTIES ('definition' = ${definition})
