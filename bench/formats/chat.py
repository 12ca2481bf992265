"""Chat messages as people log them: OpenAI's `messages`, ShareGPT's `conversations`, or a bare list."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from bench.errors import DataError
from bench.formats.json_text import first_problem

_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "ai": "assistant"}


def _role(value: Any) -> Any:
    return _ROLES.get(value.lower(), value.lower()) if isinstance(value, str) else value


def _text(value: Any) -> Any:
    """The text of a content that comes in typed parts."""
    if isinstance(value, list) and all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in value):
        return "".join(part["text"] for part in value)
    return value


class Message(BaseModel):
    """One message of a conversation."""

    role: Annotated[Literal["system", "user", "assistant", "tool"], BeforeValidator(_role)] = Field(
        validation_alias=AliasChoices("role", "from")
    )
    content: Annotated[str, BeforeValidator(_text)] = Field(validation_alias=AliasChoices("content", "value"))


_MESSAGES = TypeAdapter(list[Message])


def messages_of(value: Any, where: str) -> list[Message] | None:
    """The messages of a record, or of a bare list of messages; None where it holds none.

    Raises:
        DataError: there are messages, but one is not as it should be.
    """
    if isinstance(value, dict):
        value = next((value[key] for key in ("messages", "conversations") if isinstance(value.get(key), list)), None)
    if not isinstance(value, list) or not value or not all(isinstance(message, dict) for message in value):
        return None
    try:
        return _MESSAGES.validate_python(value)
    except ValidationError as error:
        raise DataError(f"{where}: messages{first_problem(error)}.") from error
