"""A peer that speaks DICOMweb: QIDO-RS, WADO-RS and STOW-RS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filewriter import dcmwrite

from monai_diffaug.dicom.peers import Address, PeerError, Receive, RefusedError, TransientError, refuse_ignored_keys
from monai_diffaug.dicom.settings import WebSettings

AS_STORED = (("application/dicom", "*"),)
DUPLICATE = 0x0111
MOST_PAGES = 10_000
OWN_UID = {"study": "StudyInstanceUID", "series": "SeriesInstanceUID", "instance": "SOPInstanceUID"}


class WebPeer:
    """Talk to one DICOMweb server; proxies, ``.netrc`` and redirects are not followed: the destination is explicit.

    Args:
        settings: how to reach it.
    """

    def __init__(self, settings: WebSettings) -> None:
        import requests
        from dicomweb_client.web import DICOMwebClient

        self.settings = settings
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.max_redirects = 0
        self._session.verify = str(settings.ca_file) if settings.ca_file else True
        if settings.cert_file and settings.key_file:
            self._session.cert = (str(settings.cert_file), str(settings.key_file))
        if settings.user and settings.password:
            self._session.auth = (settings.user, settings.password.reveal())
        if settings.token:
            self._session.headers["Authorization"] = f"Bearer {settings.token.reveal()}"
        self._client = DICOMwebClient(settings.url, self._session, timeout=settings.timeout)
        self._client.set_http_retry_params(retry=False)  # it would send a body again that is spent

    def echo(self) -> None:
        """Return if the server answers a query for one study, raise ``PeerError`` if not."""
        with self._errors("QIDO-RS"):
            self._client.search_for_studies(limit=1)

    def find(self, level: str, keys: Mapping[str, str]) -> list[Dataset]:
        """Return what matches a QIDO-RS query at a level, one dataset each, page by page."""
        found: dict[str, Dataset] = {}
        for _ in range(MOST_PAGES):
            with self._errors("QIDO-RS"):
                page = [Dataset.from_json(one) for one in self._search(level, keys, len(found))]
            before = len(found)
            found.update((str(one.get(OWN_UID[level])), one) for one in page)
            if len(found) == before:  # none left, or a server that knows no pages
                break
        return refuse_ignored_keys(list(found.values()), keys)

    def fetch(self, address: Address, sop_classes: tuple[str, ...], receive: Receive) -> None:
        """Hand every object of a series, or one instance, to ``receive`` in the transfer syntax it is stored in."""
        uids = (address.study, address.series)
        with self._errors("WADO-RS"):
            if address.instance:
                objects = iter([self._client.retrieve_instance(*uids, address.instance, media_types=AS_STORED)])
            else:
                objects = self._client.iter_series(*uids, media_types=AS_STORED)
        while True:
            with self._errors("WADO-RS"):
                dataset = next(objects, None)
            if dataset is None:
                return
            receive(_as_file(dataset))

    def store(self, dataset: Dataset) -> None:
        """Send one object by STOW-RS in its own transfer syntax."""
        if getattr(dataset, "preamble", None) is None:
            dataset.preamble = bytes(128)  # without it the client would send no DICOM file
        with self._errors("STOW-RS"):
            answer = self._client.store_instances([dataset], study_instance_uid=str(dataset.StudyInstanceUID))
        for failed in answer.get("FailedSOPSequence") or ():
            reason = failed.get("FailureReason")
            if reason != DUPLICATE:  # of a duplicate the comparison tells whether it is this object
                raise PeerError(f"STOW-RS: the server did not store the object, reason 0x{int(reason or 0):04X}")
            return
        stored = {str(one.get("ReferencedSOPInstanceUID")) for one in answer.get("ReferencedSOPSequence") or ()}
        if str(dataset.SOPInstanceUID) not in stored:
            raise TransientError("STOW-RS: the server's answer does not name the object as stored")

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _search(self, level: str, keys: Mapping[str, str], offset: int) -> list[dict[str, Any]]:
        """Return one page of answers as DICOM JSON."""
        query: dict[str, Any] = {key: value for key, value in keys.items() if value}
        client = self._client
        study, series = query.pop("StudyInstanceUID", None), query.pop("SeriesInstanceUID", None)
        if level == "study":
            query |= {"StudyInstanceUID": study} if study else {}
            return client.search_for_studies(fields=list(keys), offset=offset, search_filters=query)
        if level == "series":
            query |= {"SeriesInstanceUID": series} if series else {}
            return client.search_for_series(study, fields=list(keys), offset=offset, search_filters=query)
        return client.search_for_instances(study, series, fields=list(keys), offset=offset, search_filters=query)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Turn errors of HTTP into ours, without headers, bodies or queries in them."""
        import requests

        where = urlsplit(self.settings.url).netloc
        try:
            yield
        except requests.exceptions.SSLError:
            raise RefusedError(f"{what}: the certificate of {where} is not one that ca_file vouches for") from None
        except requests.exceptions.HTTPError as error:
            raise _http_error(what, where, 0 if error.response is None else error.response.status_code) from None
        except requests.exceptions.TooManyRedirects:
            raise RefusedError(f"{what}: {where} redirects elsewhere; give the final url") from None
        except requests.exceptions.Timeout:
            raise TransientError(f"{what}: {where} did not answer within {self.settings.timeout:g} s") from None
        except (requests.exceptions.RequestException, OSError) as error:
            raise TransientError(f"{what}: the connection with {where} failed ({type(error).__name__})") from None
        except (ValueError, EOFError, InvalidDicomError) as error:
            raise TransientError(f"{what}: {where} sent what is not DICOM ({type(error).__name__})") from None


def _http_error(what: str, where: str, code: int) -> PeerError:
    """Return what an HTTP status means."""
    if code in (401, 403):
        return RefusedError(f"{what}: {where} refused the credentials, or there were none (HTTP {code})")
    kind = TransientError if code >= 500 or code in (0, 408, 429) else PeerError
    return kind(f"{what}: {where} answered HTTP {code}")


def _as_file(dataset: Dataset) -> bytes:
    """Return a dataset as the bytes of a file; what was not looked at is written as it came."""
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
