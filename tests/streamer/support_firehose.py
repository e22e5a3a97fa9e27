"""What DescribeDeliveryStream says of a stream like that of infra/delivery_stream.yaml."""

from __future__ import annotations

from typing import Any

PROCESSORS: list[dict[str, Any]] = [
    {
        "Type": "RecordDeAggregation",
        "Parameters": [{"ParameterName": "SubRecordType", "ParameterValue": "JSON"}],
    },
    {"Type": "AppendDelimiterToRecord"},
    {"Type": "MetadataExtraction"},
]


def described(*processors: dict[str, Any], enabled: bool = True, **more: Any) -> dict[str, Any]:
    processing = {"Enabled": enabled, "Processors": list(processors)}
    destination = {"ExtendedS3DestinationDescription": {"ProcessingConfiguration": processing}}
    return {"Destinations": [destination], **more}


DEAGGREGATING = described(*PROCESSORS)
ONE_BY_ONE = described(PROCESSORS[2])
