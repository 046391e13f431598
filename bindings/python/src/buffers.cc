#include "bindings/python/src/buffers.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <array>
#include <memory>
#include <string>

#include "bindings/python/src/errors.h"

namespace tutti::python {

namespace {

constexpr int kDatatypes = TUTTI_FLOAT8_E5M2 + 1;
constexpr int kOps = TUTTI_PREMULTIPLIED_SUM + 1;

// What an object says of its elements.
struct Elements {
  std::optional<tutti_datatype> type;  // none: Tutti has no such type
  std::size_t bytes = 0;               // of one
  bool is_bool = false;
  std::string name;  // as the object's owner calls it
};

std::string text_of(nb::handle object) {
  return nb::cast<std::string>(nb::steal<nb::object>(PyObject_Str(object.ptr())));
}

std::string class_name(nb::handle object) { return text_of(object.type().attr("__name__")); }

std::optional<tutti_datatype> integer(bool is_signed, std::size_t bytes) {
  switch (bytes) {
    case 1:
      return is_signed ? TUTTI_INT8 : TUTTI_UINT8;
    case 2:
      return is_signed ? TUTTI_INT16 : TUTTI_UINT16;
    case 4:
      return is_signed ? TUTTI_INT32 : TUTTI_UINT32;
    case 8:
      return is_signed ? TUTTI_INT64 : TUTTI_UINT64;
    default:
      return std::nullopt;
  }
}

std::optional<tutti_datatype> floating(std::size_t bytes) {
  switch (bytes) {
    case 2:
      return TUTTI_FLOAT16;
    case 4:
      return TUTTI_FLOAT32;
    case 8:
      return TUTTI_FLOAT64;
    default:
      return std::nullopt;
  }
}

// By the struct module's letters. Sizes come from the buffer, since some depend on the machine.
Elements elements_of_format(const char* format, std::size_t bytes) {
  Elements elements{.type = std::nullopt, .bytes = bytes, .name = format == nullptr ? "B" : format};
  std::string_view letters = elements.name;
  if (!letters.empty() && (letters[0] == '@' || letters[0] == '=' || letters[0] == '<')) letters.remove_prefix(1);
  if (letters.size() != 1) return elements;
  if (std::string_view("bhilqn").find(letters[0]) != std::string_view::npos) elements.type = integer(true, bytes);
  if (std::string_view("BHILQNc").find(letters[0]) != std::string_view::npos) elements.type = integer(false, bytes);
  if (std::string_view("efd").find(letters[0]) != std::string_view::npos) elements.type = floating(bytes);
  elements.is_bool = letters[0] == '?' && bytes == 1;
  if (elements.is_bool) elements.type = TUTTI_UINT8;
  return elements;
}

Elements elements_of_dlpack(nb::dlpack::dtype type) {
  Elements elements{
      .type = std::nullopt,
      .bytes = type.bits / 8u * type.lanes,
      .name = "DLPack type code " + std::to_string(type.code) + " of " + std::to_string(type.bits) + " bits"};
  if (type.lanes != 1 || type.bits % 8 != 0) return elements;
  using Code = nb::dlpack::dtype_code;
  switch (static_cast<Code>(type.code)) {
    case Code::Int:
      elements.type = integer(true, elements.bytes);
      break;
    case Code::UInt:
      elements.type = integer(false, elements.bytes);
      break;
    case Code::Float:
      elements.type = floating(elements.bytes);
      break;
    case Code::Bfloat:
      if (elements.bytes == 2) elements.type = TUTTI_BFLOAT16;
      break;
    case Code::Float8_E4M3FN:
      elements.type = TUTTI_FLOAT8_E4M3;
      break;
    case Code::Float8_E5M2:
      elements.type = TUTTI_FLOAT8_E5M2;
      break;
    case Code::Bool:
      elements.is_bool = elements.bytes == 1;
      if (elements.is_bool) elements.type = TUTTI_UINT8;
      break;
    default:
      break;
  }
  return elements;
}

// NumPy knows these by ml_dtypes, and gives no buffer of them.
std::optional<tutti_datatype> extension_type(nb::handle object) {
  if (!nb::hasattr(object, "__array_interface__") || !nb::hasattr(object, "dtype")) return std::nullopt;
  const auto name = text_of(object.attr("dtype"));
  if (name == "bfloat16") return TUTTI_BFLOAT16;
  if (name == "float8_e4m3fn") return TUTTI_FLOAT8_E4M3;
  if (name == "float8_e5m2") return TUTTI_FLOAT8_E5M2;
  return std::nullopt;
}

Buffer finished(void* data, std::size_t bytes, const Elements& elements, const char* what, const char* datatype,
                nb::object owner) {
  Buffer buffer{.data = data, .owner = std::move(owner)};
  if (datatype != nullptr) {
    buffer.type = datatype_of(datatype);
    if (tutti_datatype_size(buffer.type) != elements.bytes) {
      raise_invalid(std::string(what) + ": datatype=" + datatype + " has " +
                    std::to_string(tutti_datatype_size(buffer.type)) + " bytes, its elements (" + elements.name +
                    ") have " + std::to_string(elements.bytes));
    }
  } else if (!elements.type) {
    raise_invalid(std::string(what) + ": its elements are of a type that Tutti does not know (" + elements.name +
                  "); say what they are by datatype=, or pass a view of another type");
  } else {
    buffer.type = *elements.type;
    buffer.is_bool = elements.is_bool;
  }
  buffer.count = elements.bytes == 0 ? 0 : bytes / elements.bytes;
  return buffer;
}

std::optional<Buffer> by_buffer_protocol(nb::handle object, const char* what, bool writable, const char* datatype) {
  if (PyObject_CheckBuffer(object.ptr()) == 0) return std::nullopt;
  auto view = std::make_unique<Py_buffer>();
  const int flags = PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | (writable ? PyBUF_WRITABLE : 0);
  if (PyObject_GetBuffer(object.ptr(), view.get(), flags) != 0) {
    nb::python_error why;
    if (extension_type(object)) return std::nullopt;
    raise_invalid(std::string(what) + " cannot be used as it is: " + text_of(why.value()) +
                  (writable ? ". Tutti writes into it: it has to be writable and contiguous"
                            : ". Pass a contiguous copy (numpy.ascontiguousarray)"));
  }
  const Elements elements = elements_of_format(view->format, static_cast<std::size_t>(view->itemsize));
  void* const data = view->buf;
  const auto bytes = static_cast<std::size_t>(view->len);
  nb::capsule owner(view.release(), [](void* held) noexcept {
    const std::unique_ptr<Py_buffer> buffer(static_cast<Py_buffer*>(held));
    PyBuffer_Release(buffer.get());
  });
  return finished(data, bytes, elements, what, datatype, std::move(owner));
}

std::optional<Buffer> by_array_interface(nb::handle object, const char* what, bool writable, const char* datatype) {
  const auto type = extension_type(object);
  if (!type) return std::nullopt;
  const nb::dict interface = nb::cast<nb::dict>(object.attr("__array_interface__"));
  if (interface.contains("strides") && !interface["strides"].is_none())
    raise_invalid(std::string(what) + " is not contiguous; pass a contiguous copy (numpy.ascontiguousarray)");
  const auto data = nb::cast<nb::tuple>(interface["data"]);
  if (writable && nb::cast<bool>(data[1]))
    raise_invalid(std::string(what) + " is read-only, and Tutti writes into it");
  const Elements elements{.type = type,
                          .bytes = nb::cast<std::size_t>(object.attr("dtype").attr("itemsize")),
                          .name = text_of(object.attr("dtype"))};
  std::size_t bytes = elements.bytes;
  for (const nb::handle length : nb::cast<nb::tuple>(interface["shape"])) bytes *= nb::cast<std::size_t>(length);
  return finished(reinterpret_cast<void*>(nb::cast<std::uintptr_t>(data[0])), bytes, elements, what, datatype,
                  nb::borrow(object));
}

std::optional<Buffer> by_dlpack(nb::handle object, const char* what, bool writable, const char* datatype) {
  if (!nb::hasattr(object, "__dlpack__")) return std::nullopt;
  auto array = std::make_unique<nb::ndarray<nb::ro>>();
  if (!nb::try_cast(object, *array, false)) {
    raise_invalid(std::string(what) + ": this " + class_name(object) +
                  " gives no DLPack view; a torch tensor that requires grad has to be detached (tensor.detach())");
  }
  if (array->device_type() != nb::device::cpu::value) {
    raise_invalid(std::string(what) + " lies on a device (DLPack type " + std::to_string(array->device_type()) +
                  "); Tutti takes memory of the CPU here: pass a copy on the CPU");
  }
  std::int64_t stride = 1;
  for (std::size_t axis = array->ndim(); axis-- > 0;) {
    if (array->size() > 1 && array->shape(axis) > 1 && array->stride(axis) != stride)
      raise_invalid(std::string(what) + " is not contiguous; pass a contiguous copy (tensor.contiguous())");
    stride *= static_cast<std::int64_t>(array->shape(axis));
  }
  // Only DLPack 1.0 and later can say that memory is read-only.
  if (nb::ndarray<> ours; writable && !nb::try_cast(object, ours, false))
    raise_invalid(std::string(what) + " is read-only, and Tutti writes into it");
  void* const data = const_cast<void*>(array->data());
  const std::size_t bytes = array->nbytes();
  const Elements elements = elements_of_dlpack(array->dtype());
  nb::capsule owner(array.release(), [](void* held) noexcept { delete static_cast<nb::ndarray<nb::ro>*>(held); });
  return finished(data, bytes, elements, what, datatype, std::move(owner));
}

template <typename Enum>
Enum enum_of(std::string_view name, int count, const char* (*name_of)(Enum), const char* what) {
  std::string all;
  for (int i = 0; i < count; ++i) {
    const char* const candidate = name_of(static_cast<Enum>(i));
    if (name == candidate) return static_cast<Enum>(i);
    all += (i > 0 ? ", " : "") + std::string(candidate);
  }
  raise_invalid("\"" + std::string(name) + "\" is no " + what + "; there are " + all);
}

}  // namespace

Buffer buffer_of(nb::handle object, const char* what, bool writable, const char* datatype) {
  if (auto buffer = by_buffer_protocol(object, what, writable, datatype)) return *std::move(buffer);
  if (auto buffer = by_array_interface(object, what, writable, datatype)) return *std::move(buffer);
  if (auto buffer = by_dlpack(object, what, writable, datatype)) return *std::move(buffer);
  raise_invalid(std::string(what) + " is a " + class_name(object) +
                "; Tutti takes NumPy arrays, other objects with the buffer protocol, and DLPack tensors on the CPU");
}

tutti_datatype datatype_of(std::string_view name) {
  return enum_of<tutti_datatype>(name, kDatatypes, tutti_datatype_name, "element type");
}

tutti_op op_of(std::string_view name) { return enum_of<tutti_op>(name, kOps, tutti_op_name, "reduction"); }

}  // namespace tutti::python
