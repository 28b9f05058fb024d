// The test program of the eBPF side; one suite a file.
#define BOOST_TEST_MODULE penstock - bpf
#include <boost/test/unit_test.hpp>
