"""A browser without a screen: tabs, history, forms and keys, as far as WebArena's actions reach them."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode, urljoin

from tasks.webarena.accessibility import Document, Element, ElementIds
from tasks.webarena.actions import Action
from tasks.webarena.site import Response, Site

BLANK = "about:blank"
_EMPTY = "<html><head><title></title></head><body></body></html>"
_TYPED = ("text", "search", "number", "email", "password")
_TICKED = ("checkbox", "radio")


class Tab:
    """A tab: the addresses it has been to, and the page it shows."""

    def __init__(self, document: Document):
        self.visited = [document.url]
        self.position = 0
        self.document = document


class Browser:
    """What an agent's actions act on.

    Args:
        site: answers its requests.
        ids: where elements get their ids.
        urls: opened at the start, one tab each; the last one is in front.
    """

    def __init__(self, site: Site, ids: ElementIds, urls: list[str]):
        self._site, self._ids = site, ids
        self.tabs = [Tab(self._document(url)) for url in urls]
        self.current = len(self.tabs) - 1

    @property
    def document(self) -> Document:
        """The page in front."""
        return self.tabs[self.current].document

    def text(self) -> str:
        """The line of tabs and the page in front, as WebArena shows them."""
        marks = ["" if i != self.current else " (current)" for i in range(len(self.tabs))]
        titles = [f"Tab {i}{mark}: {self.tabs[i].document.title}" for i, mark in enumerate(marks)]
        return f"{' | '.join(titles)}\n\n{self.document.text()}"

    def act(self, action: Action) -> bool:
        """Carries out an action; False where there is nothing it could act on, and then nothing changes."""
        return getattr(self, f"_{action.verb}")(action)

    def _document(self, url: str) -> Document:
        response = self._site.get(url)
        return Document(BLANK, _EMPTY, self._ids) if response is None else Document(*_parts(response), self._ids)

    def _show(self, response: Response | None) -> bool:
        """Shows what a request led to, and forgets the addresses that lay ahead."""
        if response is None:
            return False
        tab = self.tabs[self.current]
        tab.document = Document(*_parts(response), self._ids)
        tab.visited[tab.position + 1 :] = [response.url]
        tab.position += 1
        return True

    def _click(self, action: Action) -> bool:
        element = self.document.element(action.element)
        return element is not None and self._press_on(element)

    def _press_on(self, element: Element) -> bool:
        """A click: it reaches the link, button or field that the element is in."""
        document = self.document
        target = next((e for e in (element, *element.iterancestors()) if _takes_clicks(e)), None)
        document.focus, document.selected = target, False
        if target is None:
            return True
        if target.tag == "a":
            return self._show(self._site.get(urljoin(document.url, target.get("href"))))
        if target.tag == "button" or target.get("type") == "submit":
            return self._submit(target)
        if target.get("type") == "checkbox":
            _tick(target, target.get("checked") is None)
        elif target.get("type") == "radio":
            same = (e for e in document.root.iter("input") if e.get("name") == target.get("name"))
            for other in same:
                _tick(other, other is target)
        return True

    def _submit(self, element: Element) -> bool:
        """Sends the form an element is in, unless a required field is empty."""
        form = next(element.iterancestors("form"), None)
        if form is None:
            return True
        fields = list(_fields(form))
        if any(e.get("required") is not None and not e.get("value") for e in fields):
            return True
        named = [e for e in fields if e.get("name")]
        sent = {e.get("name"): e.get("value", "on" if e.get("type") in _TICKED else "") for e in named}
        url = urljoin(self.document.url, form.get("action", ""))
        if form.get("method", "get").lower() == "post":
            return self._show(self._site.post(url, sent))
        return self._show(self._site.get(f"{url}?{urlencode(sent)}"))

    def _hover(self, action: Action) -> bool:
        """Nothing on our pages changes under the pointer."""
        return self.document.element(action.element) is not None

    def _type(self, action: Action) -> bool:
        """Clicks on the element, types behind what stands there, and ends with Enter if asked to."""
        element = self.document.element(action.element)
        if element is None:
            return False
        before = self.document
        self._press_on(element)
        if self.document is before:
            for letter in action.text:
                self._key(letter)
            if action.enter:
                self._key("Enter")
        return True

    def _press(self, action: Action) -> bool:
        """A key, or several at once (`Control+a`)."""
        *held, key = action.text.split("+") if action.text != "+" else ["+"]
        if held and held[-1] in ("Control", "Meta", "ControlOrMeta") and key.lower() == "a":
            self.document.selected = _is_typed(self.document.focus)
        elif not held or held == ["Shift"]:
            self._key(key)
        return True

    def _key(self, key: str) -> None:
        document, field = self.document, self.document.focus
        if key == "Tab":
            self._focus_next()
        elif key == "Enter" and field is not None:
            if _is_typed(field):
                self._submit(field)
            else:
                self._press_on(field)
        elif _is_typed(field) and (len(key) == 1 or key in ("Backspace", "Delete", "Space")):
            value = "" if document.selected else field.get("value", "")
            if key == "Backspace" and not document.selected:
                value = value[:-1]
            elif key == "Space" or len(key) == 1:
                value += " " if key == "Space" else key
            field.set("value", value)
            document.selected = False

    def _focus_next(self) -> None:
        stops = [e for e in self.document.root.iter() if _takes_clicks(e)]
        at = stops.index(self.document.focus) + 1 if self.document.focus in stops else 0
        self.document.focus = stops[at] if at < len(stops) else None
        self.document.selected = _is_typed(self.document.focus)

    def _scroll(self, action: Action) -> bool:
        """Pages are shown whole: there is nothing to scroll."""
        return True

    def _goto(self, action: Action) -> bool:
        return self._show(self._site.get(action.text))

    def _new_tab(self, action: Action) -> bool:
        self.tabs.append(Tab(self._document(BLANK)))
        self.current = len(self.tabs) - 1
        return True

    def _tab_focus(self, action: Action) -> bool:
        if action.tab >= len(self.tabs):
            return False
        self.current = action.tab
        return True

    def _close_tab(self, action: Action) -> bool:
        del self.tabs[self.current]
        if not self.tabs:
            self.tabs.append(Tab(self._document(BLANK)))
        self.current = len(self.tabs) - 1
        return True

    def _go_back(self, action: Action) -> bool:
        return self._move(-1)

    def _go_forward(self, action: Action) -> bool:
        return self._move(1)

    def _move(self, by: int) -> bool:
        tab = self.tabs[self.current]
        if not 0 <= tab.position + by < len(tab.visited):
            return False
        tab.position += by
        tab.document = self._document(tab.visited[tab.position])
        return True


def _parts(response: Response) -> tuple[str, str]:
    return response.url, response.html


def _takes_clicks(element: Element) -> bool:
    if element.tag == "a":
        return element.get("href") is not None
    return element.tag == "button" or (element.tag == "input" and element.get("type") != "hidden")


def _is_typed(element: Element) -> bool:
    return element is not None and element.tag == "input" and element.get("type", "text") in _TYPED


def _fields(form: Element) -> Iterator[Element]:
    """The fields a form sends."""
    for element in form.iter("input"):
        if element.get("type") not in ("submit", "button") and (
            element.get("type") not in _TICKED or element.get("checked") is not None
        ):
            yield element


def _tick(element: Element, on: bool) -> None:
    if on:
        element.set("checked", "")
    else:
        element.attrib.pop("checked", None)
