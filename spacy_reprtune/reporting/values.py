"""Read values from JSON files with unknown content."""

from typing import Any, Dict, List, Optional

# Larger numbers can't be measurements, and matplotlib fails on numbers near the largest float.
LARGEST = 1e15


def number(value: Any) -> Optional[float]:
    """RETURNS (Optional[float]): The value if it is a finite number of a plausible size."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) <= LARGEST else None


def part(content: Any, key: str) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): An object within another one, empty if there is none."""
    value = content.get(key) if isinstance(content, dict) else None
    return value if isinstance(value, dict) else {}


def objects(values: Any) -> List[Dict[str, Any]]:
    """RETURNS (List[Dict[str, Any]]): The objects in a list, empty if it is something else."""
    return [v for v in values if isinstance(v, dict)] if isinstance(values, list) else []
