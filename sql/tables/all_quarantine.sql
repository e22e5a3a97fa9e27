-- All of quarantine, as all_raw.
CREATE EXTERNAL TABLE IF NOT EXISTS `all_quarantine` (
  `line` string COMMENT 'As in quarantine'
)
COMMENT 'All rejected lines that the lake holds'
${fragments/text_lines}
LOCATION ${location}
TBLPROPERTIES ('definition' = ${definition})
