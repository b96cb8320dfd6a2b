"""Small files of microscope makers, written from what readers of these formats look for.

No package writes nd2 or lif. These files hold the parts that the readers need and nothing else, so
they show that a file is found, opened, described and read, not that every file of a maker is.
"""

import struct
from itertools import product
from pathlib import Path

import numpy as np

# nd2: chunks with names, and a map of the chunks at the end ---------------------------------------

CHUNK = 0x0ABECEDA
MAP, MAP_AT = b"ND2 FILEMAP SIGNATURE NAME 0001!", b"ND2 CHUNK MAP SIGNATURE 0000001!"
TIME, PLACE, DEPTH = 1, 2, 4


def record(name, value):
    """Encode a named value as the metadata do: type, name, and what it is."""
    if isinstance(value, dict):
        parts = [record(key, one) for key, one in value.items()]
        return _level(name, parts)
    if isinstance(value, list):
        return _level(name, [record("", one) for one in value])
    if isinstance(value, bytes):
        kind, data = 9, struct.pack("<Q", len(value)) + value
    elif isinstance(value, str):
        kind, data = 8, (value + "\0").encode("utf-16-le")
    elif isinstance(value, float):
        kind, data = 6, struct.pack("<d", value)
    else:
        kind, data = 3, struct.pack("<I", value)
    return _head(kind, name) + data


def _head(kind, name):
    return struct.pack("BB", kind, len(name) + 1) + (name + "\0").encode("utf-16-le")


def _level(name, parts):
    head, body = _head(11, name), b"".join(parts)
    length = len(head) + 12 + len(body)
    return head + struct.pack("<IQ", len(parts), length) + body + bytes(8 * len(parts))


def write_nd2(
    path, data, *, pixel_size=(0.3, 0.11, 0.11), names=("DAPI", "GFP"), emission=(461, 509), lost=()
):
    """Write (p, t, z, c, y, x) of uint16; frames with the numbers `lost` are left out."""
    places, times, depth, channels, height, width = data.shape
    attributes = {
        "uiWidth": width, "uiWidthBytes": width * 2 * channels, "uiHeight": height,
        "uiComp": channels, "uiBpcInMemory": 16, "uiBpcSignificant": 16,
        "uiSequenceCount": places * times * depth, "eCompression": 2,
        "uiVirtualComponents": channels,
    }  # fmt: skip
    planes = {}
    for c in range(channels):
        point = {"eType": 0, "dWavelength": float(emission[c]), "dTValue": 1.0}
        spectrum = {"uiCount": 1, "pPoint": {"Point0": point}}
        planes[f"a{c}"] = {
            "uiCompCount": 1, "uiSampleIndex": c, "sDescription": names[c], "uiColor": 0x00FF00,
            "pFluorescentProbe": {"m_EmissionSpectrum": spectrum},
        }  # fmt: skip
    metadata = {
        "bCalibrated": 1, "dCalibration": pixel_size[2], "dObjectiveNA": 1.4, "dObjectiveMag": 60.0,
        "dRefractIndex1": 1.515, "wsObjectiveName": "Plan Apo 60x Oil",
        "sPicturePlanes": {"uiCount": channels, "uiSampleCount": 1, "sPlaneNew": planes},
    }  # fmt: skip
    points = [
        {"dPosX": 100.0 * p, "dPosY": 0.0, "dPosZ": 0.0, "dPosName": f"well {p}"}
        for p in range(places)
    ]
    loops = [
        (TIME, times, {"uiCount": times, "dStart": 0.0, "dPeriod": 2000.0, "dDuration": 0.0}),
        (PLACE, places, {"uiCount": places, "bUseZ": 0, "Points": points}),
        (DEPTH, depth, {"uiCount": depth, "dZStep": pixel_size[0], "iType": 0, "uiHomeIndex": 0}),
    ]
    experiment = None
    for kind, count, parameters in reversed([loop for loop in loops if loop[1] > 1]):
        this = {"eType": kind, "uLoopPars": parameters, "uiLevel": 0}
        if kind == PLACE:
            this["pItemValid"] = bytes([1] * count)
        if experiment is not None:
            this["ppNextLevelEx"] = [experiment]
        experiment = this
    chunks = [
        (b"ImageAttributesLV!", record("SLxImageAttributes", attributes)),
        (b"ImageMetadataSeqLV|0!", record("SLxPictureMetadata", metadata)),
    ]
    if experiment is not None:
        chunks.append((b"ImageMetadataLV!", record("SLxExperiment", experiment)))
    order = list(product(range(times), range(places), range(depth)))
    acquired = np.arange(len(order), dtype="f8").tobytes()
    chunks.append((b"CustomData|AcqTimesCache!", acquired))
    for n, (t, p, z) in enumerate(order):
        if n in lost:
            continue
        pixels = np.ascontiguousarray(np.moveaxis(data[p, t, z], 0, -1)).astype("<u2")
        chunks.append((f"ImageDataSeq|{n}!".encode(), bytes(8) + pixels.tobytes()))
    _write_chunks(Path(path), chunks)
    return path


def _write_chunks(path, chunks):
    places = []
    with path.open("wb") as file:
        signature = b"ND2 FILE SIGNATURE CHUNK NAME01!"
        file.write(struct.pack("<IIQ", CHUNK, 32, 64) + signature + b"Ver3.0".ljust(64, b"\0"))
        for name, data in chunks:
            places.append((name, file.tell(), len(data)))
            reserved = 4072 if name.startswith(b"ImageDataSeq") else 64
            file.write(struct.pack("<IIQ", CHUNK, reserved, len(data)))
            file.write(name.ljust(reserved, b"\0") + data)
        where = file.tell()
        listed = b"".join(name + struct.pack("<QQ", *place) for name, *place in places)
        listed += MAP_AT + struct.pack("<QQ", where, 0)
        file.write(struct.pack("<IIQ", CHUNK, 32, len(listed)) + MAP + listed)
        file.write(MAP_AT + struct.pack("<Q", where))


# lif: XML in front, and a block of memory for each image ------------------------------------------


def write_lif(
    path,
    images,
    *,
    steps,
    names=("Green", "Red"),
    na=1.4,
    index=1.518,
    letters="xyzt",
    order="xyzt",
):
    """Write images {name: (t, c, z, y, x) of uint16}; `steps` in µm or s for "tzyx".

    The place of an axis in `letters` is what it is, to the format: the tenth is a mosaic. `order`
    is that of the scan, fastest first.
    """
    elements, blocks = "", []
    for n, (title, data) in enumerate(images.items()):
        inner = [axis for axis in order[::-1] if axis in "zyx"]
        scanned = data.transpose(0, 1, *("tczyx".index(axis) for axis in inner)).astype("<u2", "C")
        raw = scanned.tobytes()
        blocks.append((f"MemBlock_{n}", raw))
        sizes = dict(zip("tczyx", data.shape, strict=True))
        strides = dict(zip(["t", "c", *inner], scanned.strides, strict=True))
        channels = "".join(
            f'<ChannelDescription DataType="0" ChannelTag="0" Resolution="16" '
            f'NameOfMeasuredQuantity="" Min="0" Max="65535" Unit="" '
            f'LUTName="{names[c]}" IsLUTInverted="0" '
            f'BytesInc="{c * strides["c"]}" BitInc="0"/>'
            for c in range(sizes["c"])
        )
        dimensions = ""
        for axis in order:
            if sizes[axis] > 1:
                unit, metre = ("s", 1.0) if axis == "t" else ("m", 1e-6)
                length = steps[axis] * (sizes[axis] - 1) * metre
                dimensions += (
                    f'<DimensionDescription DimID="{letters.index(axis) + 1}" '
                    f'NumberOfElements="{sizes[axis]}" Origin="0" Length="{length!r}" '
                    f'Unit="{unit}" BitInc="0" '
                    f'BytesInc="{strides[axis]}"/>'
                )
        elements += (
            f'<Element Name="{title}"><Data><Image><ImageDescription>'
            f"<Channels>{channels}</Channels><Dimensions>{dimensions}</Dimensions></ImageDescription>"
            f'<Attachment Name="HardwareSetting"><ATLConfocalSettingDefinition '
            f'NumericalAperture="{na}" RefractionIndex="{index}" Magnification="63" '
            f'ObjectiveName="HC PL APO 63x/1.40 OIL" Immersion="OIL"/></Attachment></Image></Data>'
            f'<Memory Size="{len(raw)}" MemoryBlockID="MemBlock_{n}"/></Element>'
        )
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="project"><Memory Size="0" '
        f'MemoryBlockID="MemBlock_x"/><Children>{elements}</Children></Element>'
        "</LMSDataContainerHeader>"
    )
    with Path(path).open("wb") as file:
        file.write(struct.pack("<IIBI", 0x70, 2 * len(xml) + 5, 0x2A, len(xml)))
        file.write(xml.encode("utf-16-le"))
        for name, raw in [("MemBlock_x", b""), *blocks]:
            head = struct.pack("<BQBI", 0x2A, len(raw), 0x2A, len(name))
            file.write(struct.pack("<II", 0x70, len(head) + 2 * len(name)) + head)
            file.write(name.encode("utf-16-le") + raw)
    return path
