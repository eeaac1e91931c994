"""Checks the manifest of an inference service against the types of KServe and Kubernetes.

Usage: clients_kserve.py MANIFEST
"""

import sys
from pathlib import Path

import kserve.models
import kubernetes.client.models
import yaml

manifest = Path(sys.argv[1])


def check(value, kind, place):
    """Errors at a field that KServe or Kubernetes does not know, and at a value of another type."""
    container, _, item = kind.removesuffix("]").partition("[")
    if container.lower() == "list":
        assert isinstance(value, list), place
        for number, each in enumerate(value):
            check(each, item, f"{place}[{number}]")
        return
    type_ = getattr(kserve.models, kind, None) or getattr(kubernetes.client.models, kind, None)
    if type_ is None:
        expected = {"str": str, "int": int, "bool": bool}.get(kind, object)
        assert isinstance(value, expected), f"{place}: {value!r} is not {kind}"
        return
    fields = {name: type_.openapi_types[attribute] for attribute, name in type_.attribute_map.items()}
    for name, each in value.items():
        assert name in fields, f"{place} has no field {name}"
        check(each, fields[name], f"{place}.{name}")


service = yaml.safe_load(manifest.read_text())
check(service, "V1beta1InferenceService", service["kind"])
print(f"KServe: the fields of {manifest.name} are known")
