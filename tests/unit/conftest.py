"""The bucket of the unit tests: an S3 that lives in this process, empty at the beginning of each test."""

from collections.abc import Iterator

import pytest
from types_boto3_s3 import S3Client

from tests.unit import support_hour


@pytest.fixture(scope="module")
def service() -> Iterator[S3Client]:
    with support_hour.lake() as client:
        yield client


@pytest.fixture
def s3(service: S3Client) -> S3Client:
    support_hour.empty(service)
    return service
