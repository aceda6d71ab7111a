"""The server of ``streamhead serve --webrtc``: callers speak from a browser, or over WHIP and WHEP, and get a face."""
