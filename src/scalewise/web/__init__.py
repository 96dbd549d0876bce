"""The page of `scalewise serve`: drop in a photo, see it restored, compare, download.

`application` gives the server (Starlette); `security` says who is answered, `work` has the queue,
`shelf` what is kept in memory, `making` what a browser may ask for, `patches` which parts come
first, `views` what is shown; `page/` is the page itself: HTML, CSS and JavaScript without any
library, since the sliders of libraries have no zoom. Nothing is written to disk.
"""

from scalewise.web.application import application
from scalewise.web.settings import Settings

__all__ = ["Settings", "application"]
