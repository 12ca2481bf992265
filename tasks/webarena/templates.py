"""The pages of our shop, forum and admin site, as jinja2 templates. Small on purpose: ten to twenty nodes each."""

from __future__ import annotations

import jinja2

_BASE = """<!DOCTYPE html><html><head><title>{{ title }}</title><style>ul, ol {list-style: none}</style></head><body>
<nav>{% for name, url in links %}<a href="{{ url }}">{{ name }}</a>{% endfor %}</nav>
<main>{% block main %}{% endblock %}</main></body></html>"""

_SOURCES = {
    "base": _BASE,
    "shop_home": """<h1>Shop</h1>
<form action="/search"><input type="text" name="q" aria-label="Search"><button>Search</button></form>
<ul>{% for c in categories %}<li><a href="/category/{{ c }}">{{ c }}</a></li>{% endfor %}</ul>""",
    "products": """<h1>{{ heading }}</h1>
{% if products %}<ul>{% for p in products %}<li><a href="/product/{{ p.id }}">{{ p.name }}</a></li>{% endfor %}</ul>
{% else %}<p>No products found.</p>{% endif %}""",
    "product": """<h1>{{ p.name }}</h1><p class="price">Price: ${{ p.price }}</p><p>Color: {{ p.color }}</p>
<form action="/cart/add/{{ p.id }}" method="post"><button>Add to Cart</button></form>
<a href="/product/{{ p.id }}/reviews">Reviews ({{ count }})</a>""",
    "reviews": """<h1>Reviews of {{ p.name }}</h1>
<ul>{% for r in reviews %}<li class="review">{{ r.author }}: {{ r.rating }} of 5. {{ r.text }}</li>{% endfor %}</ul>
<form action="/product/{{ p.id }}/reviews" method="post">
<input type="text" name="text" aria-label="Your review" required><button>Submit Review</button></form>""",
    "cart": """<h1>Cart</h1>{% if items %}
<ul id="cart">{% for i in items %}<li>{{ i.name }} x {{ i.quantity }}</li>{% endfor %}</ul>
<p class="total">Total: ${{ total }}</p><form action="/cart/order" method="post"><button>Place Order</button></form>
{% else %}<p>Your cart is empty.</p>{% endif %}""",
    "orders": """<h1>{{ heading }}</h1>
<ul>{% for o in orders %}<li><a href="/order/{{ o.id }}">Order {{ o.id }}</a></li>{% endfor %}</ul>""",
    "order": """<h1>Order {{ o.id }}</h1>{% if admin %}<p>Customer: {{ o.customer }}</p>{% endif %}
<p class="item">{{ o.name }} x {{ o.quantity }}</p><p class="total">Total: ${{ o.price * o.quantity }}</p>
<p class="status">Status: {{ o.status }}</p>{% if admin %}
<form action="/order/{{ o.id }}/cancel" method="post"><button>Cancel</button></form>
<form action="/order/{{ o.id }}/ship" method="post"><button>Ship</button></form>{% endif %}""",
    "forum_home": """<h1>Forums</h1>
<ul>{% for f in forums %}<li><a href="/f/{{ f }}">{{ f }}</a></li>{% endfor %}</ul>""",
    "forum": """<h1>{{ forum }}</h1><a href="/submit/{{ forum }}">Submit</a>
<ul>{% for p in posts %}<li><a href="/f/{{ forum }}/{{ p.id }}">{{ p.title }}</a></li>{% endfor %}</ul>""",
    "post": """<h1>{{ p.title }}</h1><p class="author">by {{ p.author }}</p><p class="body">{{ p.body }}</p>
<form class="vote{{ ' upvoted' if p.voted }}" action="/f/{{ p.forum }}/{{ p.id }}/vote" method="post">
<button>{{ 'Retract upvote' if p.voted else 'Upvote' }}</button> <span class="votes">Votes: {{ p.votes }}</span></form>
<ul id="comments">{% for c in comments %}<li>{{ c.author }}: {{ c.text }}</li>{% endfor %}</ul>
<form action="/f/{{ p.forum }}/{{ p.id }}/comment" method="post">
<input type="text" name="text" aria-label="Comment" required><button>Post</button></form>""",
    "submit": """<h1>New post in {{ forum }}</h1><form action="/submit/{{ forum }}" method="post">
<input type="text" name="title" aria-label="Title" required><input type="text" name="body" aria-label="Body">
<button>Create</button></form>""",
    "admin_home": """<h1>Dashboard</h1>
<form action="/products" method="get"><input type="text" name="q" aria-label="Find product"><button>Find</button></form>
<h2>Bestsellers</h2>
<ol id="bestsellers">{% for p in best %}<li>{{ p.name }}: {{ p.sold }} sold</li>{% endfor %}</ol>""",
    "edit": """<h1>Edit {{ p.name }}</h1><p class="price">Price: ${{ p.price }}</p><p>Sold: {{ p.sold }}</p>
<form action="/product/{{ p.id }}" method="post"><input type="text" name="price" aria-label="New price">
<input type="checkbox" name="sale" aria-label="On sale"><button>Save</button></form>""",
    "missing": "<h1>Not Found</h1><p>There is no such page.</p>",
}

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.DictLoader(
        {
            name: source if name == "base" else f"{{% extends 'base' %}}{{% block main %}}{source}{{% endblock %}}"
            for name, source in _SOURCES.items()
        }
    ),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
)
_TEMPLATES = {name: _ENVIRONMENT.get_template(name) for name in _SOURCES}


def render(template: str, **values: object) -> str:
    """The HTML of a page."""
    return _TEMPLATES[template].render(**values)
