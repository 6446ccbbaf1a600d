"""The daemon's control socket: HTTP/1.1 over a Unix stream socket, one request and one answer per connection.

A request is `POST /api/v1/operations/VERB` with a JSON object; an answer is a JSON object, with another status than 200
an error. `Pai-Actor` names, percent-encoded, who works at the keyboard. What a verb means is not known here.
"""
