"""What a file says of itself: that a program made its pictures.

The term is IPTC's ``compositeWithTrainedAlgorithmicMedia``: a portrait's own pixels, put together with ones that a
trained model moved and painted. It stands in an XMP packet, where photo and video tools look for it, and in words in
the comment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final
from uuid import UUID
from xml.sax.saxutils import escape

from PIL.PngImagePlugin import PngInfo

from streamhead import __version__

__all__ = ["COMMENT", "DIGITAL_SOURCE_TYPE", "METADATA", "TOOL", "append_xmp", "png_labels", "xmp_packet"]

DIGITAL_SOURCE_TYPE: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's term, as the address that names it."""

TOOL: Final = f"streamhead {__version__}"

COMMENT: Final = (
    "Synthetic media: the face in these pictures is moved and painted by an AI model; this is no recording of a person "
    f"speaking. Digital source type: {DIGITAL_SOURCE_TYPE}. Made with {TOOL}."
)
"""The same for people."""

METADATA: Final = {"comment": COMMENT, "digital_source_type": DIGITAL_SOURCE_TYPE}
"""Fields of a video container; what a format has no place for, it leaves out."""

# Where XMP lies in MP4 and QuickTime files (XMP specification, part 3): a box of this kind at the top level.
_XMP_BOX: Final = UUID("be7acfcb-97a9-42e8-9c71-999491e3afac")


def xmp_packet() -> bytes:
    """The XMP packet of a picture or video, UTF-8."""
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/">
   <Iptc4xmpExt:DigitalSourceType>{DIGITAL_SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>
   <xmp:CreatorTool>{escape(TOOL)}</xmp:CreatorTool>
   <dc:description><rdf:Alt><rdf:li xml:lang="x-default">{escape(COMMENT)}</rdf:li></rdf:Alt></dc:description>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>""".encode()


def png_labels() -> PngInfo:
    """The same for a PNG, as Pillow's ``pnginfo``: the XMP packet, and the comment."""
    labels = PngInfo()
    labels.add_itxt("XML:com.adobe.xmp", xmp_packet().decode())
    labels.add_text("Comment", COMMENT)
    return labels


def append_xmp(path: Path) -> None:
    """Add the XMP packet to a finished MP4 or QuickTime file.

    Raises:
        OSError: it cannot be written.
    """
    body = _XMP_BOX.bytes + xmp_packet()
    with path.open("ab") as file:
        file.write((8 + len(body)).to_bytes(4, "big") + b"uuid" + body)
